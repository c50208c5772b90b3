//! The door of the server: requests for keys, which are nearly all, go straight to their service; all others are found by
//! their path among the rest.

use std::convert::Infallible;
use std::task::{Context, Poll};

use etcd_client::proto::PbKvServer;
use futures::future::Either;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;

use super::kv_service::KvService;

type Keys = PbKvServer<KvService>;
type Answer = http::Response<Body>;
type KeysFuture = <Keys as Service<http::Request<Body>>>::Future;
type RestFuture = <Routes as Service<http::Request<Body>>>::Future;

/// All services of the server behind one.
#[derive(Clone, Debug)]
pub(super) struct Front {
    pub(super) keys: Keys,
    pub(super) rest: Routes,
}

impl Service<http::Request<Body>> for Front {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<KeysFuture, RestFuture>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither has anything to wait for: a request waits in its own future.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().strip_prefix('/');
        let method = path.and_then(|path| path.strip_prefix(Keys::NAME));
        if method.is_some_and(|method| method.starts_with('/')) {
            Either::Left(self.keys.call(request))
        } else {
            Either::Right(self.rest.call(request))
        }
    }
}
