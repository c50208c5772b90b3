//! Counting the requests in progress, so that a server that stops knows when they have ended.

use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;
use tonic::codegen::Service;
use tonic::server::NamedService;

/// A gRPC service whose requests are counted from their first byte to their answer.
#[derive(Clone, Debug)]
pub(crate) struct Tracked<S> {
    service: S,
    requests: TaskTracker,
}

impl<S> Tracked<S> {
    pub(crate) fn new(service: S, requests: TaskTracker) -> Self {
        Self { service, requests }
    }
}

impl<S: NamedService> NamedService for Tracked<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<R>, R> Service<R> for Tracked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = TrackedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.requests.track_future(self.service.call(request))
    }
}
