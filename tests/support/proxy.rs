//! A TCP proxy that can be cut: what is connected is closed, and what connects is closed at once, until it is mended.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A proxy on a free loopback port. It ends with its handle.
pub(crate) struct Proxy {
    address: SocketAddr,
    link: Arc<Mutex<Option<CancellationToken>>>,
    end: CancellationToken,
}

impl Proxy {
    /// Begins to pass connections on to `target`. To be called in a tokio runtime.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = Arc::new(Mutex::new(Some(CancellationToken::new())));
        let end = CancellationToken::new();
        let passing = pass(listener, target, Arc::clone(&link));
        let ended = end.clone();
        tokio::spawn(async move { ended.run_until_cancelled(passing).await });
        Self { address, link, end }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection, and those that come.
    pub(crate) fn cut(&self) {
        if let Some(link) = self.link.lock().unwrap().take() {
            link.cancel();
        }
    }

    /// Passes new connections on again.
    pub(crate) fn mend(&self) {
        self.link
            .lock()
            .unwrap()
            .get_or_insert_with(CancellationToken::new);
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
    link: Arc<Mutex<Option<CancellationToken>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut from, _)) = listener.accept().await else {
            return;
        };
        let Some(link) = link.lock().unwrap().clone() else {
            continue;
        };
        connections.spawn(async move {
            let Ok(mut to) = TcpStream::connect(target).await else {
                return;
            };
            from.set_nodelay(true).unwrap();
            to.set_nodelay(true).unwrap();
            let copying = copy_bidirectional(&mut from, &mut to);
            drop(link.run_until_cancelled(copying).await);
        });
    }
}
