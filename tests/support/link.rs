//! The state of a link through a proxy, and carrying bytes over it as that state says.
//!
//! ```text
//! a test ── cut, hold, half_open, garble, delay, throttle, mend ──▶ Link (its terms)
//!                                                            │ read at each step
//!             client ── read ──▶ in transit, until due ── write ──▶ server, and the same the other way
//! ```

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at once.
const CHUNK: usize = 4 * 1024;

/// Chunks that are on their way at a time: 128 KiB each way, as a link's own buffers, lets a link that is 200 ms long pass more than
/// half a megabyte a second.
const IN_TRANSIT: usize = 32;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Passes,
    /// They wait, and go on when the link is mended: so a network looks that loses packets, for they are sent again.
    Held,
    /// They are gone: so a peer looks that has forgotten the connection.
    Swallowed,
    /// They arrive as others: so a network looks in which something answers in the place of the peer.
    Garbled,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    /// A connection ends when this is no longer what it was at its beginning.
    generation: u64,
    open: bool,
    to_server: Flow,
    to_client: Flow,
    delay: Duration,
    bytes_per_second: Option<u32>,
}

const WHOLE: Terms = Terms {
    generation: 0,
    open: true,
    to_server: Flow::Passes,
    to_client: Flow::Passes,
    delay: Duration::ZERO,
    bytes_per_second: None,
};

impl Terms {
    fn flow(&self, way: Way) -> Flow {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }
}

/// A link that can be damaged and mended while connections go over it. Clones are the same link.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<watch::Sender<Terms>>);

impl Link {
    /// A link that passes everything on at once.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(WHOLE)))
    }

    /// Closes every connection, and those that come.
    pub(crate) fn cut(&self) {
        self.0.send_modify(|terms| {
            terms.generation += 1;
            terms.open = false;
        });
    }

    /// Holds what goes one way, for connections that are there and those that come; nothing is closed, and nothing is lost once mended.
    pub(crate) fn hold(&self, way: Way) {
        self.0.send_modify(|terms| match way {
            Way::ToServer => terms.to_server = Flow::Held,
            Way::ToClient => terms.to_client = Flow::Held,
        });
    }

    /// Lets connections be made and stay, and swallows all that is sent over them, both ways. Mending closes those that lost
    /// something.
    pub(crate) fn half_open(&self) {
        self.0.send_modify(|terms| {
            terms.to_server = Flow::Swallowed;
            terms.to_client = Flow::Swallowed;
        });
    }

    /// Turns every bit of what goes one way from now on, what was held among it.
    pub(crate) fn garble(&self, way: Way) {
        self.0.send_modify(|terms| match way {
            Way::ToServer => terms.to_server = Flow::Garbled,
            Way::ToClient => terms.to_client = Flow::Garbled,
        });
    }

    /// Makes each way take so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.send_modify(|terms| terms.delay = delay);
    }

    /// Lets so many bytes a second through, each way of each connection.
    pub(crate) fn throttle(&self, bytes_per_second: u32) {
        self.0
            .send_modify(|terms| terms.bytes_per_second = Some(bytes_per_second));
    }

    /// Makes it whole again.
    pub(crate) fn mend(&self) {
        self.0.send_modify(|terms| {
            let lost = [terms.to_server, terms.to_client].contains(&Flow::Swallowed);
            *terms = Terms {
                generation: terms.generation + u64::from(lost),
                ..WHOLE
            };
        });
    }

    /// Lets a connection in, unless the link is cut.
    pub(super) fn admit(&self) -> Option<Admission> {
        let terms = *self.0.borrow();
        terms.open.then(|| Admission {
            link: self.clone(),
            generation: terms.generation,
        })
    }

    async fn one_way(&self, way: Way, from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (departing, arriving) = mpsc::channel(IN_TRANSIT);
        tokio::try_join!(
            take(self.0.subscribe(), way, from, departing),
            bring(self.0.subscribe(), way, arriving, to),
        )
        .map(drop)
    }
}

/// The leave to connect, void when the link has been cut since.
pub(super) struct Admission {
    link: Link,
    generation: u64,
}

impl Admission {
    /// Carries one connection until it ends, or is cut.
    pub(super) async fn carry(self, client: TcpStream, server: TcpStream) {
        if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
            return;
        }
        let Self { link, generation } = self;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let carrying = async {
            tokio::try_join!(
                link.one_way(Way::ToServer, from_client, to_server),
                link.one_way(Way::ToClient, from_server, to_client),
            )
        };
        let mut terms = link.0.subscribe();
        tokio::select! {
            // First the terms, so that nothing that lies ready is passed on once the link is cut.
            biased;
            _ = terms.wait_for(|terms| terms.generation != generation) => {}
            // However it ended, both halves are dropped, and with them the connections.
            _ = carrying => {}
        }
    }
}

/// Bytes, and when they are due at the other end.
type Chunk = (Instant, Vec<u8>);

async fn take(
    mut terms: watch::Receiver<Terms>,
    way: Way,
    mut from: OwnedReadHalf,
    departing: mpsc::Sender<Chunk>,
) -> io::Result<()> {
    loop {
        passable(&mut terms, way).await;
        let mut bytes = vec![0; CHUNK];
        let read = from.read(&mut bytes).await;
        let now = *terms.borrow();
        let ended = !matches!(read, Ok(count) if count > 0);
        match now.flow(way) {
            // The other side does not learn of an end either.
            Flow::Swallowed if ended => return std::future::pending().await,
            Flow::Swallowed => continue,
            Flow::Passes | Flow::Held | Flow::Garbled => {}
        }
        bytes.truncate(read?);
        if ended
            || departing
                .send((Instant::now() + now.delay, bytes))
                .await
                .is_err()
        {
            return Ok(());
        }
    }
}

async fn bring(
    mut terms: watch::Receiver<Terms>,
    way: Way,
    mut arriving: mpsc::Receiver<Chunk>,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    while let Some((due, mut bytes)) = arriving.recv().await {
        // A timer costs a millisecond even if its time has come.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        passable(&mut terms, way).await;
        let now = *terms.borrow();
        if now.flow(way) == Flow::Swallowed {
            continue;
        }
        if now.flow(way) == Flow::Garbled {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        if let Some(rate) = now.bytes_per_second {
            sleep(Duration::from_secs_f64(
                bytes.len() as f64 / f64::from(rate),
            ))
            .await;
        }
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}

/// Waits until bytes are not held.
async fn passable(terms: &mut watch::Receiver<Terms>, way: Way) {
    // An error means that the link is gone, and then so is this connection's proxy.
    let _ = terms.wait_for(|terms| terms.flow(way) != Flow::Held).await;
}
