//! One endpoint: the connection to it, made when it is first needed and made anew when it has died.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_client::Error as ClientError;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::clients::{Clients, without_leader};
use super::dial::{Dialer, dial};
use super::error::EtcdError;
use super::failure::Effect;
use super::http2::{Channel, Target};
use super::one_flight::OneFlight;
use super::settings::Auth;

/// One endpoint, to which there is at most one connection in use.
pub(super) struct Remote {
    url: String,
    target: Target,
    link: Arc<Mutex<Option<Arc<Link>>>>,
    dialing: OneFlight<Result<Arc<Link>, Arc<ClientError>>>,
    probing: AtomicBool,
}

/// A connection, and the clients over it.
pub(super) struct Link {
    channel: Channel,
    auth: Option<Auth>,
    with_leader: Clients,
    /// Made at first use: with a login, making them asks the server for a token.
    without_leader: OnceCell<Clients>,
}

impl Remote {
    pub(super) fn new(url: String, dialer: &Dialer) -> Result<Self, EtcdError> {
        Ok(Self {
            target: dialer.target(&url)?,
            url,
            link: Arc::default(),
            dialing: OneFlight::new(),
            probing: AtomicBool::new(false),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The connection, if there is one that takes requests.
    pub(super) fn held(&self) -> Option<Arc<Link>> {
        let held = self.link.lock().clone();
        held.filter(|link| !link.channel.is_over())
    }

    /// The connection, made if there is none: once for all who wait for it.
    pub(super) async fn link(&self, dialer: &Dialer) -> Result<Arc<Link>, Arc<ClientError>> {
        if let Some(link) = self.held() {
            return Ok(link);
        }
        let begin = || {
            let (target, auth) = (self.target.clone(), dialer.auth().cloned());
            let (held, limit) = (Arc::clone(&self.link), dialer.connect_timeout());
            let identity = dialer.identity().cloned();
            async move {
                let (channel, with_leader) = dial(target, identity, auth.clone(), limit).await?;
                let link = Arc::new(Link {
                    channel,
                    auth,
                    with_leader,
                    without_leader: OnceCell::new(),
                });
                *held.lock() = Some(Arc::clone(&link));
                Ok(link)
            }
            .boxed()
        };
        self.dialing.join(begin).await
    }

    /// Lets go of a connection that is dead, so that the next request makes another. What is in flight on it goes on.
    pub(super) fn forget(&self, dead: &Arc<Link>) {
        let mut held = self.link.lock();
        if held.as_ref().is_some_and(|link| Arc::ptr_eq(link, dead)) {
            *held = None;
        }
    }

    /// The right to find out whether this endpoint lives, unless somebody has it.
    pub(super) fn begin_probe(&self) -> Option<Probing<'_>> {
        let begun = !self.probing.swap(true, Ordering::Relaxed);
        begun.then_some(Probing(&self.probing))
    }
}

/// Held by who probes an endpoint.
pub(super) struct Probing<'a>(&'a AtomicBool);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Link {
    /// The clients for requests of that effect.
    pub(super) async fn clients(&self, effect: Effect) -> Result<&Clients, ClientError> {
        if effect != Effect::ReadsLocally {
            return Ok(&self.with_leader);
        }
        self.without_leader
            .get_or_try_init(|| Clients::over(&self.channel, without_leader(self.auth.as_ref())))
            .await
    }

    /// The clients whose requests need a leader.
    pub(super) fn with_leader(&self) -> &Clients {
        &self.with_leader
    }
}
