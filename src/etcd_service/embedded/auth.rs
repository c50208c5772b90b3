//! The auth service: every call is answered "authentication is not enabled", as by an etcd without users.
//!
//! Whoever configures a password for the embedded server thus hears what is wrong, and not that a method is missing.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use super::refusal::Refusal;

#[derive(Clone, Copy, Debug)]
pub(super) struct AuthService;

impl NamedService for AuthService {
    const NAME: &'static str = "etcdserverpb.Auth";
}

impl Service<http::Request<Body>> for AuthService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        ready(Ok(Status::from(Refusal::AuthNotEnabled).into_http()))
    }
}
