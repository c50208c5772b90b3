//! The way to the world and back: a future on the IO runtime whose result comes through a oneshot.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tracing::Instrument;

use super::environment::{Environment, Spawned};
use super::error::{IoError, panic_text};

/// The result of a future on the IO runtime, to be awaited. Made by [`Cx::io`](super::Cx::io) and [`Services::io`](super::Services::io).
///
/// # Errors
///
/// [`IoError::Panicked`] when the future panicked, [`IoError::ShutDown`] when the IO runtime went away first.
///
/// # Cancel safety
///
/// Dropping it aborts the future at its next await; [`Io::detach`] lets it go on.
#[must_use = "dropping it aborts the future; await it, keep it, or detach it"]
pub struct Io<T> {
    result: oneshot::AsyncReceiver<Result<T, IoError>>,
    task: Option<Spawned>,
}

impl<T: Send + 'static> Io<T> {
    pub(crate) fn start<F>(environment: &Environment, future: F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, result) = oneshot::async_channel();
        let simulated = environment.simulation().is_some();
        let future = future.in_current_span();
        let task = environment.spawn(async move {
            let ended = AssertUnwindSafe(future)
                .catch_unwind()
                .await
                .map_err(|panic| IoError::Panicked(explain(panic_text(&*panic), simulated)));
            // Whoever dropped the receiver has aborted this or wants no result.
            drop(sender.send(ended));
        });
        Self {
            result,
            task: Some(task),
        }
    }

    /// Lets the future run to its end, whoever waits for it.
    pub fn detach(mut self) {
        self.task = None;
    }

    /// Ends the future at its next await. Awaiting this then ends with [`IoError::ShutDown`], unless the result was there already.
    pub fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Says more of the panic of a future that wanted a tokio runtime where there is none.
fn explain(text: String, simulated: bool) -> String {
    if simulated && text.contains("Tokio") {
        format!(
            "{text} (the deterministic mode has no tokio runtime: sleep with Services::sleep, and put a stand-in where the network is)"
        )
    } else {
        text
    }
}

impl<T> Future for Io<T> {
    type Output = Result<T, IoError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result)
            .poll(cx)
            .map(|result| result.unwrap_or(Err(IoError::ShutDown)))
    }
}

impl<T> Drop for Io<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl<T> fmt::Debug for Io<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}
