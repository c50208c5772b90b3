//! The auth service of an etcd without users: it tells so, finds nobody, and cannot be enabled.
//!
//! Users and roles are not kept: to add one is refused with what to do instead. Whoever configures a password for the
//! embedded server hears "authentication is not enabled", and not that a method is missing.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use etcd_client::proto::{
    PbAuthDisableRequest, PbAuthDisableResponse, PbAuthEnableRequest, PbAuthEnableResponse,
    PbAuthRoleAddRequest, PbAuthRoleAddResponse, PbAuthRoleDeleteRequest, PbAuthRoleDeleteResponse,
    PbAuthRoleGetRequest, PbAuthRoleGetResponse, PbAuthRoleGrantPermissionRequest,
    PbAuthRoleGrantPermissionResponse, PbAuthRoleListRequest, PbAuthRoleListResponse,
    PbAuthRoleRevokePermissionRequest, PbAuthRoleRevokePermissionResponse, PbAuthUserAddRequest,
    PbAuthUserAddResponse, PbAuthUserChangePasswordRequest, PbAuthUserChangePasswordResponse,
    PbAuthUserDeleteRequest, PbAuthUserDeleteResponse, PbAuthUserGetRequest, PbAuthUserGetResponse,
    PbAuthUserGrantRoleRequest, PbAuthUserGrantRoleResponse, PbAuthUserListRequest,
    PbAuthUserListResponse, PbAuthUserRevokeRoleRequest, PbAuthUserRevokeRoleResponse,
    PbAuthenticateRequest, PbAuthenticateResponse, PbResponseHeader,
};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::refusal::Refusal;
use super::shared::Shared;

/// etcd counts changes of users and roles from here.
const FIRST_AUTH_REVISION: u64 = 1;

#[derive(Clone, Debug)]
pub(super) struct AuthService {
    pub(super) shared: Arc<Shared>,
}

/// `etcd-client` generates this service too, but gives these two messages no public name, so that its trait cannot be
/// implemented.
#[derive(Clone, PartialEq, Message)]
struct AuthStatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct AuthStatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    enabled: bool,
    #[prost(uint64, tag = "3")]
    auth_revision: u64,
}

impl NamedService for AuthService {
    const NAME: &'static str = "etcdserverpb.Auth";
}

impl Service<http::Request<Body>> for AuthService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(route(shared, request).await) })
    }
}

async fn route(shared: Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    match method {
        "AuthStatus" => serve(shared, request, status).await,
        "Authenticate" => serve(shared, request, authenticate).await,
        "AuthEnable" => serve(shared, request, enable).await,
        "AuthDisable" => serve(shared, request, disable).await,
        "UserList" => serve(shared, request, user_list).await,
        "UserGet" => serve(shared, request, user_get).await,
        "UserAdd" => serve(shared, request, user_add).await,
        "UserDelete" => serve(shared, request, user_delete).await,
        "UserChangePassword" => serve(shared, request, user_change_password).await,
        "UserGrantRole" => serve(shared, request, user_grant_role).await,
        "UserRevokeRole" => serve(shared, request, user_revoke_role).await,
        "RoleList" => serve(shared, request, role_list).await,
        "RoleGet" => serve(shared, request, role_get).await,
        "RoleAdd" => serve(shared, request, role_add).await,
        "RoleDelete" => serve(shared, request, role_delete).await,
        "RoleGrantPermission" => serve(shared, request, role_grant).await,
        "RoleRevokePermission" => serve(shared, request, role_revoke).await,
        _ => {
            let service = AuthService::NAME;
            Status::unimplemented(format!("unknown method {method} for service {service}"))
                .into_http()
        }
    }
}

type Answer<A> = Result<A, Status>;

async fn serve<Q, A>(
    shared: Arc<Shared>,
    request: http::Request<Body>,
    answer: fn(&Shared, Q) -> Answer<A>,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    let method = Method { shared, answer };
    Grpc::new(ProstCodec::<A, Q>::default())
        .unary(method, request)
        .await
}

/// One method, as the transport wants it.
struct Method<Q, A> {
    shared: Arc<Shared>,
    answer: fn(&Shared, Q) -> Answer<A>,
}

impl<Q, A> Service<Request<Q>> for Method<Q, A> {
    type Response = Response<A>;
    type Error = Status;
    type Future = Ready<Result<Response<A>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.answer)(&self.shared, request.into_inner()).map(Response::new))
    }
}

fn status(shared: &Shared, _: AuthStatusRequest) -> Answer<AuthStatusResponse> {
    Ok(AuthStatusResponse {
        header: Some(shared.header_now()),
        enabled: false,
        auth_revision: FIRST_AUTH_REVISION,
    })
}

fn authenticate(_: &Shared, _: PbAuthenticateRequest) -> Answer<PbAuthenticateResponse> {
    Err(Refusal::AuthNotEnabled.into())
}

fn enable(_: &Shared, _: PbAuthEnableRequest) -> Answer<PbAuthEnableResponse> {
    Err(Refusal::NoRootUser.into())
}

fn disable(shared: &Shared, _: PbAuthDisableRequest) -> Answer<PbAuthDisableResponse> {
    Ok(PbAuthDisableResponse {
        header: Some(shared.header_now()),
    })
}

fn user_list(shared: &Shared, _: PbAuthUserListRequest) -> Answer<PbAuthUserListResponse> {
    Ok(PbAuthUserListResponse {
        header: Some(shared.header_now()),
        users: Vec::new(),
    })
}

fn role_list(shared: &Shared, _: PbAuthRoleListRequest) -> Answer<PbAuthRoleListResponse> {
    Ok(PbAuthRoleListResponse {
        header: Some(shared.header_now()),
        roles: Vec::new(),
    })
}

fn user_add(_: &Shared, request: PbAuthUserAddRequest) -> Answer<PbAuthUserAddResponse> {
    if request.name.is_empty() {
        return Err(Refusal::UserEmpty.into());
    }
    Err(no_users())
}

fn role_add(_: &Shared, request: PbAuthRoleAddRequest) -> Answer<PbAuthRoleAddResponse> {
    if request.name.is_empty() {
        return Err(Refusal::RoleEmpty.into());
    }
    Err(no_users())
}

fn role_grant(
    _: &Shared,
    request: PbAuthRoleGrantPermissionRequest,
) -> Answer<PbAuthRoleGrantPermissionResponse> {
    Err(match request.perm {
        None => Refusal::PermissionNotGiven.into(),
        Some(_) => Refusal::RoleNotFound.into(),
    })
}

fn no_users() -> Status {
    Status::unimplemented(
        "the embedded etcd keeps neither users nor roles; run an etcd of its own where access must be restricted",
    )
}

macro_rules! refused {
    ($($method:ident($request:ident) -> $answer:ident = $refusal:ident;)*) => {$(
        fn $method(_: &Shared, _: $request) -> Answer<$answer> {
            Err(Refusal::$refusal.into())
        }
    )*};
}

refused! {
    user_get(PbAuthUserGetRequest) -> PbAuthUserGetResponse = UserNotFound;
    user_delete(PbAuthUserDeleteRequest) -> PbAuthUserDeleteResponse = UserNotFound;
    user_change_password(PbAuthUserChangePasswordRequest)
        -> PbAuthUserChangePasswordResponse = UserNotFound;
    user_grant_role(PbAuthUserGrantRoleRequest) -> PbAuthUserGrantRoleResponse = UserNotFound;
    user_revoke_role(PbAuthUserRevokeRoleRequest) -> PbAuthUserRevokeRoleResponse = UserNotFound;
    role_get(PbAuthRoleGetRequest) -> PbAuthRoleGetResponse = RoleNotFound;
    role_delete(PbAuthRoleDeleteRequest) -> PbAuthRoleDeleteResponse = RoleNotFound;
    role_revoke(PbAuthRoleRevokePermissionRequest)
        -> PbAuthRoleRevokePermissionResponse = RoleNotFound;
}
