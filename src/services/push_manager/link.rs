//! The connection to one node: made eagerly, kept alive, made again when it breaks.
//!
//! The first connection is tried for until there is one, or nobody wants it any more. Later ones are made by the channel itself
//! when a call needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::framework::Services;

use super::limiter::Limiter;
use super::settings::PushManagerSettings;
use super::target::Target;

/// The first wait between two tries. Short, because a node often registers a moment before it listens.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest wait between two tries: so long at most a node is kept waiting that has come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What calls to the node go through. A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    channel: watch::Receiver<Option<Channel>>,
    connected: Arc<AtomicBool>,
    cut: CancellationToken,
}

/// Nobody tries to connect any more.
pub(crate) struct Abandoned;

impl Link {
    /// The link, and what connects it.
    pub(crate) fn new() -> (Self, Connector) {
        let (announce, channel) = watch::channel(None);
        let link = Self {
            channel,
            connected: Arc::default(),
            cut: CancellationToken::new(),
        };
        let connected = Arc::clone(&link.connected);
        (
            link,
            Connector {
                announce,
                connected,
            },
        )
    }

    /// Waits for the first connection.
    pub(crate) async fn channel(&mut self) -> Result<Channel, Abandoned> {
        let connected = self.channel.wait_for(Option::is_some).await;
        connected
            .ok()
            .and_then(|channel| channel.clone())
            .ok_or(Abandoned)
    }

    /// Whether there is a connection, as far as the last call could tell.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Notes whether a call found a connection. Returns whether that is news.
    pub(crate) fn note(&self, connected: bool) -> bool {
        self.connected.swap(connected, Ordering::Relaxed) != connected
    }

    /// Ends every call that is out.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until the calls are to end.
    pub(crate) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}

/// Makes the first connection of a [`Link`].
#[derive(Debug)]
pub(crate) struct Connector {
    announce: watch::Sender<Option<Channel>>,
    connected: Arc<AtomicBool>,
}

impl Connector {
    /// Tries until there is a connection. Returns when that was. To be run on the IO runtime.
    pub(crate) async fn connect(
        self,
        target: &Target,
        settings: &PushManagerSettings,
        services: &Services,
    ) -> Instant {
        let mut pauses = Pauses::new(services.random());
        let mut failures = Limiter::default();
        loop {
            let error = match endpoint(target, settings) {
                Ok(endpoint) => match endpoint.connect().await {
                    Ok(channel) => {
                        self.connected.store(true, Ordering::Relaxed);
                        self.announce.send_replace(Some(channel));
                        return services.now();
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if let Some(tries) = failures.note(1, services.now()) {
                let reason = deepest(&error);
                tracing::warn!(node = %target.id, address = %target.address, tries, %reason, "cannot connect to the node, trying on");
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }
}

fn endpoint(
    target: &Target,
    settings: &PushManagerSettings,
) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.address))?;
    Ok(endpoint
        // Connecting is part of a call, so it takes no longer than one.
        .connect_timeout(settings.node_timeout())
        .tcp_nodelay(true)
        .http2_keep_alive_interval(settings.keepalive_interval())
        .keep_alive_timeout(settings.keepalive_timeout())
        .keep_alive_while_idle(true))
}

/// The waits between tries: doubled up to a bound, with jitter, so that the push managers do not come back to a node all at once.
#[derive(Debug)]
pub(crate) struct Pauses {
    pause: Duration,
    chance: u64,
}

impl Pauses {
    pub(crate) fn new(chance: u64) -> Self {
        Self {
            pause: FIRST_PAUSE,
            chance,
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        // A step of a linear congruential generator: chance enough to spread waits.
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let half = self.pause / 2;
        let pause = half + half.mul_f64((self.chance >> 32) as f64 / f64::from(u32::MAX));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// The innermost cause, which is the one that says something.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        for chance in [0, 1, u64::MAX] {
            let mut pauses = Pauses::new(chance);
            assert!(pauses.next() <= FIRST_PAUSE);
            for _ in 0..20 {
                pauses.next();
            }
            let pause = pauses.next();
            assert!(
                pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE,
                "{pause:?}"
            );
        }
    }
}
