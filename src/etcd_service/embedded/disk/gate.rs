//! Holds every answer until what it tells is on disk.
//!
//! It stands before all services at once, so none of them can forget it; the answers that the transport makes itself wait in
//! `transport/held.rs`, through which all of those go. An answer is made under the store's lock or after
//! it, so it tells nothing that was not appended to the journal when it is ready.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body as HttpBody, Frame};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tonic::{Code, Status};
use tower_layer::Layer;

use super::journal::Journal;
use crate::etcd_service::embedded::refusal::Refusal;

/// Methods under this path have their whole answer when they return, so its pieces need not be held once more.
const ANSWERS_AT_ONCE: &str = "/etcdserverpb.KV/";

/// Puts a [`Gate`] before a server's services.
#[derive(Clone, Debug)]
pub(crate) struct GateLayer {
    journal: Option<Arc<Journal>>,
}

impl GateLayer {
    /// Without a journal nothing is held.
    pub(crate) fn new(journal: Option<Arc<Journal>>) -> Self {
        Self { journal }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            journal: self.journal.clone(),
        }
    }
}

/// The services behind the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate<S> {
    inner: S,
    journal: Option<Arc<Journal>>,
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(journal) = &self.journal else {
            return Answering::Free {
                answer: self.inner.call(request),
            };
        };
        let journal = Arc::clone(journal);
        let at_once = request.uri().path().starts_with(ANSWERS_AT_ONCE);
        let answer = self.inner.call(request);
        Answering::Held {
            answer: Box::pin(async move {
                let response = answer.await?;
                if tells_nothing(&response) {
                    return Ok(response);
                }
                if let Err(refusal) = journal.settled().await {
                    return Ok(Status::from(refusal).into_http());
                }
                Ok(if at_once {
                    response
                } else {
                    response.map(|body| {
                        Body::new(Held {
                            body,
                            journal,
                            waiting: None,
                        })
                    })
                })
            }),
        }
    }
}

/// Whether it is a refusal for want of something, as when the disk fails: whoever gets it learns nothing of the store.
fn tells_nothing(response: &http::Response<Body>) -> bool {
    let status = response.headers().get("grpc-status");
    let code = status.map(|status| Code::from_bytes(status.as_bytes()));
    matches!(code, Some(Code::ResourceExhausted | Code::Unavailable))
}

pin_project! {
    /// An answer on its way.
    #[project = AnsweringProjection]
    pub(crate) enum Answering<F, E> {
        Free { #[pin] answer: F },
        Held { answer: BoxFuture<http::Response<Body>, E> },
    }
}

impl<F, E> Future for Answering<F, E>
where
    F: Future<Output = Result<http::Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProjection::Free { answer } => answer.poll(cx),
            AnsweringProjection::Held { answer } => answer.as_mut().poll(cx),
        }
    }
}

/// A body whose pieces are held one at a time.
struct Held {
    body: Body,
    journal: Arc<Journal>,
    waiting: Option<Waiting>,
}

/// A piece, and what it waits for.
struct Waiting {
    piece: Option<Frame<Bytes>>,
    durable: Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(waiting) = &mut this.waiting {
                let durable = ready!(waiting.durable.as_mut().poll(cx));
                let piece = waiting.piece.take();
                this.waiting = None;
                return Poll::Ready(match durable {
                    Ok(()) => piece.map(Ok),
                    Err(refusal) => Some(Err(refusal.into())),
                });
            }
            let piece = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(piece)) => piece,
                end => return Poll::Ready(end),
            };
            let count = this.journal.appended();
            if this.journal.is_durable(count) {
                return Poll::Ready(Some(Ok(piece)));
            }
            let journal = Arc::clone(&this.journal);
            this.waiting = Some(Waiting {
                piece: Some(piece),
                durable: Box::pin(async move { journal.durable(count).await }),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }
}
