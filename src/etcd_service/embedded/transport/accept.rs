//! Takes connections, and waits for their end.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection;
use super::services::Services;

/// After an error that will be there again at once, as when the process has no free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves whoever connects, until the services stop; then it listens no more, and ends when all connections have.
///
/// Dropping it ends all connections.
pub(in crate::etcd_service::embedded) async fn run(listener: TcpListener, services: Services) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = services.stopping.cancelled() => break,
            // Only to forget those that have ended.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let services = services.clone();
                connections.spawn(async move {
                    if let Err(end) = connection::serve(stream, services).await {
                        tracing::debug!(%peer, %end, "a connection to the embedded etcd has failed");
                    }
                });
            }
            // It concerns one connection that is gone by now.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the embedded etcd can take no connection now");
                // Either way the loop goes on; it sees the stop.
                let _ = timeout(PAUSE, services.stopping.cancelled()).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
