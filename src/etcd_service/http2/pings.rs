//! Whether the peer of a connection is still there.
//!
//! ```text
//! interval ─ wanted? ─▶ ping ─ answer ─▶ interval ─▶ …
//!                         └─ no answer within the patience ─ but something was heard ─▶ wait on
//!                                                          └─ not a byte ─▶ the peer is gone
//! ```
//!
//! A link that died without a word says nothing to TCP for many minutes. On a slow one the answer may stand behind much
//! else; then that else is a sign of life as good.

use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

/// Pings a peer.
pub(in crate::etcd_service) struct Pings {
    pub(in crate::etcd_service) pings: PingPong,
    /// What the transport of the connection notes.
    pub(in crate::etcd_service) heard: Heard,
    /// From an answer to the next ping, or to the next look whether one is wanted.
    pub(in crate::etcd_service) interval: Duration,
    /// How long not a byte may come while an answer is due.
    pub(in crate::etcd_service) patience: Duration,
}

/// A peer left a ping unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::etcd_service) struct Silent {
    patience: Duration,
}

impl Pings {
    /// Ends when the peer is gone. Never, if the connection ends in another way, which its own future tells. No ping is sent while none
    /// is `wanted`.
    ///
    /// It is to be polled beside the connection, which sends the pings.
    pub(in crate::etcd_service) async fn until_silent(
        mut self,
        wanted: impl Fn() -> bool,
    ) -> Silent {
        loop {
            sleep(self.interval).await;
            if !wanted() {
                continue;
            }
            self.heard.forget();
            if self.pings.send_ping(Ping::opaque()).is_err() {
                return pending().await;
            }
            loop {
                let answer = poll_fn(|cx| self.pings.poll_pong(cx));
                match timeout(self.patience, answer).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(_)) => return pending().await,
                    Err(_) if self.heard.forget() => {}
                    Err(_) => {
                        return Silent {
                            patience: self.patience,
                        };
                    }
                }
            }
        }
    }
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.patience.as_millis();
        write!(
            f,
            "the peer is silent: it left an HTTP/2 ping unanswered for {millis} ms"
        )
    }
}

impl std::error::Error for Silent {}

/// Whether anything was heard of a peer lately.
#[derive(Clone, Debug, Default)]
pub(in crate::etcd_service) struct Heard(Arc<AtomicBool>);

impl Heard {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether anything was, since this was asked last.
    fn forget(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A transport that notes when anything is heard.
pub(in crate::etcd_service) struct Listened<IO> {
    transport: IO,
    heard: Heard,
}

impl<IO> Listened<IO> {
    pub(in crate::etcd_service) fn new(transport: IO, heard: Heard) -> Self {
        Self { transport, heard }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Listened<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.heard.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Listened<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}
