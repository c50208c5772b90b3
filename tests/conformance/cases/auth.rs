//! A server without users: authentication is not enabled.

use etcd_client::proto::{
    PbAuthDisableRequest, PbAuthEnableRequest, PbAuthRoleAddRequest, PbAuthRoleDeleteRequest,
    PbAuthRoleGetRequest, PbAuthRoleListRequest, PbAuthRoleRevokePermissionRequest,
    PbAuthUserAddRequest, PbAuthUserChangePasswordRequest, PbAuthUserDeleteRequest,
    PbAuthUserGetRequest, PbAuthUserGrantRoleRequest, PbAuthUserListRequest,
    PbAuthUserRevokeRoleRequest, PbAuthenticateRequest,
};

use crate::messages::{AuthStatusRequest, Permission, RoleGrantRequest};
use crate::suite::{ABSENT, Difference, cases};

fn word(word: &str) -> String {
    word.to_owned()
}

const NO_STATUS: &str = "3.4 does not know the method";

const STATUS: &[Difference] = &[
    Difference::between_real(
        "1 AuthStatus: error.code",
        "Unimplemented",
        ABSENT,
        NO_STATUS,
    ),
    Difference::between_real(
        "1 AuthStatus: error.text",
        "unknown method AuthStatus for service etcdserverpb.Auth",
        ABSENT,
        NO_STATUS,
    ),
    Difference::between_real(
        "1 AuthStatus: header.cluster_id",
        ABSENT,
        "the cluster",
        NO_STATUS,
    ),
    Difference::between_real(
        "1 AuthStatus: header.member_id",
        ABSENT,
        "the member",
        NO_STATUS,
    ),
    Difference::between_real("1 AuthStatus: header.revision", ABSENT, "+0", NO_STATUS),
    Difference::between_real(
        "1 AuthStatus: header.raft_term",
        ABSENT,
        "the term",
        NO_STATUS,
    ),
    Difference::between_real("1 AuthStatus: enabled", ABSENT, "false", NO_STATUS),
    Difference::between_real("1 AuthStatus: auth_revision", ABSENT, "1", NO_STATUS),
];

const CHECKED: &str = "3.5 looks at what is asked for before it looks for the role";

const NO_PERMISSION: &[Difference] = &[
    Difference::between_real(
        "1 RoleGrantPermission: error.code",
        "FailedPrecondition",
        "InvalidArgument",
        CHECKED,
    ),
    Difference::between_real(
        "1 RoleGrantPermission: error.text",
        "etcdserver: role name not found",
        "etcdserver: permission not given",
        CHECKED,
    ),
];

const WHY: &str = "the embedded server keeps neither users nor roles";

const REFUSAL: &str = "the embedded etcd keeps neither users nor roles; \
    run an etcd of its own where access must be restricted";

const NO_USERS: &[Difference] = &[
    Difference::on_purpose("1 UserAdd: error.code", "Unimplemented", ABSENT, WHY),
    Difference::on_purpose("1 UserAdd: error.text", REFUSAL, ABSENT, WHY),
    Difference::on_purpose("1 UserAdd: header.cluster_id", ABSENT, "the cluster", WHY),
    Difference::on_purpose("1 UserAdd: header.member_id", ABSENT, "the member", WHY),
    Difference::on_purpose("1 UserAdd: header.revision", ABSENT, "+0", WHY),
    Difference::on_purpose("1 UserAdd: header.raft_term", ABSENT, "the term", WHY),
];

const NO_ROLES: &[Difference] = &[
    Difference::on_purpose("1 RoleAdd: error.code", "Unimplemented", ABSENT, WHY),
    Difference::on_purpose("1 RoleAdd: error.text", REFUSAL, ABSENT, WHY),
    Difference::on_purpose("1 RoleAdd: header.cluster_id", ABSENT, "the cluster", WHY),
    Difference::on_purpose("1 RoleAdd: header.member_id", ABSENT, "the member", WHY),
    Difference::on_purpose("1 RoleAdd: header.revision", ABSENT, "+0", WHY),
    Difference::on_purpose("1 RoleAdd: header.raft_term", ABSENT, "the term", WHY),
];

cases! {
    status(s) differs(STATUS) { s.ask(AuthStatusRequest {}).await; }
    authenticated(s) {
        s.ask(PbAuthenticateRequest { name: word("root"), password: word("secret") }).await;
    }
    authenticated_as_nobody(s) { s.ask(PbAuthenticateRequest::default()).await; }
    enabled_without_a_root(s) { s.ask(PbAuthEnableRequest {}).await; }
    disabled_though_not_enabled(s) { s.ask(PbAuthDisableRequest {}).await; }
    users(s) { s.ask(PbAuthUserListRequest {}).await; }
    roles(s) { s.ask(PbAuthRoleListRequest {}).await; }
    a_user_that_is_not_there(s) { s.ask(PbAuthUserGetRequest { name: word("none") }).await; }
    a_user_without_a_name(s) { s.ask(PbAuthUserGetRequest::default()).await; }
    a_role_that_is_not_there(s) { s.ask(PbAuthRoleGetRequest { role: word("none") }).await; }
    a_role_without_a_name(s) { s.ask(PbAuthRoleGetRequest::default()).await; }
    a_user_added_without_a_name(s) { s.ask(PbAuthUserAddRequest::default()).await; }
    a_role_added_without_a_name(s) { s.ask(PbAuthRoleAddRequest::default()).await; }
    a_user_deleted_that_is_not_there(s) {
        s.ask(PbAuthUserDeleteRequest { name: word("none") }).await;
    }
    a_role_deleted_that_is_not_there(s) {
        s.ask(PbAuthRoleDeleteRequest { role: word("none") }).await;
    }
    a_password_of_a_user_that_is_not_there(s) {
        s.ask(PbAuthUserChangePasswordRequest {
            name: word("none"), password: word("x"), ..PbAuthUserChangePasswordRequest::default()
        }).await;
    }
    a_role_granted_to_a_user_that_is_not_there(s) {
        s.ask(PbAuthUserGrantRoleRequest { user: word("none"), role: word("none") }).await;
    }
    a_role_revoked_from_a_user_that_is_not_there(s) {
        s.ask(PbAuthUserRevokeRoleRequest { name: word("none"), role: word("none") }).await;
    }
    a_permission_granted_to_a_role_that_is_not_there(s) {
        let perm = Some(Permission { kind: 0, key: b"a".to_vec() });
        s.ask(RoleGrantRequest { name: word("none"), perm }).await;
    }
    no_permission_granted(s) differs(NO_PERMISSION) {
        s.ask(RoleGrantRequest { name: word("none"), perm: None }).await;
    }
    a_user_added(s) differs(NO_USERS) {
        s.ask(PbAuthUserAddRequest {
            name: word("user"), password: word("x"), ..PbAuthUserAddRequest::default()
        }).await;
        s.quietly(PbAuthUserDeleteRequest { name: word("user") }).await;
        s.ask(PbAuthUserListRequest {}).await;
    }
    a_role_added(s) differs(NO_ROLES) {
        s.ask(PbAuthRoleAddRequest { name: word("role") }).await;
        s.quietly(PbAuthRoleDeleteRequest { role: word("role") }).await;
        s.ask(PbAuthRoleListRequest {}).await;
    }
    a_permission_revoked_from_a_role_that_is_not_there(s) {
        s.ask(PbAuthRoleRevokePermissionRequest {
            role: word("none"), key: b"a".to_vec(), ..PbAuthRoleRevokePermissionRequest::default()
        }).await;
    }
}
