//! A connection of one's own that goes from endpoint to endpoint: for what stays open long, and is opened again when it fails.
//!
//! Requests find out which endpoints fail and leave them; a stream that comes back uses what they have found. It also has little patience
//! with each: one that accepts connections and answers nothing (a process that stands still) must not keep it from the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::clients::Clients;
use super::connection::Connection;
use super::error::EtcdError;

/// How long a connection may take at first. Others are waiting to be tried, and a lease may be near its end. Each round in which one
/// took longer doubles it for the next, up to the connect time-out.
const FIRST_LIMIT: Duration = Duration::from_secs(1);

/// The endpoint in use, and which were tried since it last went well.
pub(super) struct Dedicated {
    connection: Arc<Connection>,
    index: usize,
    /// Endpoints that failed since each was tried.
    tried: Vec<usize>,
    limit: Duration,
    /// Whether one took longer in this round.
    late: bool,
}

impl Dedicated {
    /// Begins at the endpoint that requests use.
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self {
            index: connection.current(),
            connection,
            tried: Vec::new(),
            limit: FIRST_LIMIT,
            late: false,
        }
    }

    /// The number of the endpoint.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> &str {
        self.connection.endpoint_at(self.index)
    }

    /// A connection to the endpoint.
    pub(super) async fn dial(
        &mut self,
        what: &(dyn fmt::Display + Sync),
    ) -> Result<Clients, EtcdError> {
        let limit = self.limit;
        let dialing = self.connection.dedicated(self.index, what);
        timeout(limit, dialing).await.unwrap_or_else(|_| {
            self.late = true;
            Err(EtcdError::Unavailable {
                what: what.to_string(),
                endpoint: self.endpoint().to_owned(),
                reason: format!("no connection within {limit:?}"),
            })
        })
    }

    /// The endpoint has failed. Moves on to the next, which is returned: those come last that were tried already, and before them
    /// those that requests find failing.
    pub(super) fn failed(&mut self) -> &str {
        let routes = &self.connection.routes;
        if self.tried.len() == routes.count() {
            self.tried.clear();
            if std::mem::take(&mut self.late) {
                let longest = self.connection.dialer.connect_timeout().max(FIRST_LIMIT);
                self.limit = (self.limit * 2).min(longest);
            }
        }
        self.tried.push(self.index);
        self.index = routes.after_all(self.index, &self.tried);
        self.endpoint()
    }

    /// All is well at the endpoint.
    pub(super) fn settled(&mut self) {
        self.tried.clear();
        self.limit = FIRST_LIMIT;
        self.late = false;
    }
}
