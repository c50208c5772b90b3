//! A TCP proxy before a server, whose [`Link`] a test damages and mends.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::link::Link;

/// A proxy on a free loopback port: its link, and where that begins. It ends with its handle.
pub(crate) struct Proxy {
    address: SocketAddr,
    link: Link,
    connections: Arc<AtomicUsize>,
    end: CancellationToken,
}

impl Proxy {
    /// Begins to pass connections on to `target`. To be called in a tokio runtime.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let link = Link::new();
        let all = link.clone();
        let mut proxy = Self::start_with(target, move |_, _| Some(all.clone())).await;
        proxy.link = link;
        proxy
    }

    /// As [`start`](Self::start), with a link for each connection: `link_of` chooses it by the addresses that connects and that is
    /// connected to, or refuses with `None`.
    pub(super) async fn start_with(
        target: SocketAddr,
        link_of: impl Fn(SocketAddr, SocketAddr) -> Option<Link> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let end = CancellationToken::new();
        let choose = move |from| link_of(from, address);
        let passing = pass(listener, target, choose, Arc::clone(&connections));
        let ended = end.clone();
        tokio::spawn(async move { ended.run_until_cancelled(passing).await });
        Self {
            address,
            link: Link::new(),
            connections,
            end,
        }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections go through it now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// To a test a proxy is its link.
impl Deref for Proxy {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn pass(
    listener: TcpListener,
    target: SocketAddr,
    link_of: impl Fn(SocketAddr) -> Option<Link> + Send,
    count: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, from)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        let Some(admission) = link_of(from).and_then(|link| link.admit()) else {
            continue;
        };
        let counted = Counted::new(&count);
        connections.spawn(async move {
            let _counted = counted;
            if let Ok(server) = TcpStream::connect(target).await {
                admission.carry(client, server).await;
            }
        });
    }
}

/// One more connection, as long as it is there.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
