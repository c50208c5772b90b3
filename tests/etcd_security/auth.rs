//! Users, passwords and roles.

use million::etcd_service::{Etcd, EtcdError, Get, List, Put, Watch, WatchKind};
use million::framework::{Handle, Million};

use crate::house::{collector, etcd, etcdctl, million, refusal, until};
use crate::support::real_etcd::{EtcdVersion, RealEtcd};

on_each_release!(
    a_wrong_password_fails_the_start_and_is_not_shown,
    without_a_login_a_guarded_etcd_says_what_is_missing,
    a_user_gets_no_further_than_its_role,
    a_password_that_is_changed_is_told_at_the_next_request_and_heals_when_changed_back,
    a_watch_whose_user_loses_its_role_and_gets_it_back_misses_nothing,
);

pub(crate) const ROOT: Option<&str> = Some("root:root-secret");

/// A server with the users `root` and `app`, of whom the second may read and write below `app/`.
pub(crate) fn guarded(version: EtcdVersion, arguments: &[&str]) -> RealEtcd {
    // The cheapest hash of passwords: the machine has better to do.
    let arguments = [&["--bcrypt-cost", "4"], arguments].concat();
    let server = RealEtcd::start_version(version, &arguments);
    let endpoint = server.endpoint();
    for line in [
        "user add root:root-secret",
        "user grant-role root root",
        "role add app",
        "role grant-permission app readwrite app/ --prefix",
        "user add app:app-secret",
        "user grant-role app app",
        "auth enable",
    ] {
        etcdctl(&endpoint, None, &line.split(' ').collect::<Vec<_>>());
    }
    server
}

/// A service that logs in as `app`.
pub(crate) fn as_app(million: &Million, server: &RealEtcd) -> Handle<Etcd> {
    million.spawn(etcd(&app_settings(server, "app-secret")))
}

fn app_settings(server: &RealEtcd, password: &str) -> String {
    let auth = format!("auth: {{ username: app, password: {password} }}");
    format!(
        "endpoints: '{}', {auth}, request_timeout: 20000",
        server.endpoint()
    )
}

fn a_wrong_password_fails_the_start_and_is_not_shown(version: EtcdVersion) {
    let server = guarded(version, &[]);
    let text = refusal(&million(), &app_settings(&server, "not-the-secret"));
    for part in [&server.endpoint(), "authentication failed", "etcd.auth"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("not-the-secret"), "{text}");
}

fn without_a_login_a_guarded_etcd_says_what_is_missing(version: EtcdVersion) {
    let (server, million) = (guarded(version, &[]), million());
    let nobody = million.spawn(etcd(&format!("endpoints: '{}'", server.endpoint())));
    let read = million.block_on(nobody.call(Get::key("app/k"))).unwrap();
    assert!(
        matches!(&read, Err(error @ EtcdError::Unauthenticated { .. }) if error.to_string().contains("etcd.auth")),
        "{read:?}"
    );
}

fn a_user_gets_no_further_than_its_role(version: EtcdVersion) {
    let (server, million) = (guarded(version, &[]), million());
    let app = as_app(&million, &server);
    million.block_on(async {
        app.call(Put::new("app/k", "v")).await.unwrap().unwrap();
        assert_eq!(
            app.call(List::prefix("app/"))
                .await
                .unwrap()
                .unwrap()
                .pairs
                .len(),
            1
        );
        let denied = [
            app.call(Put::new("other", "v")).await.unwrap().map(drop),
            app.call(Get::key("other")).await.unwrap().map(drop),
            app.call(List::prefix("ap")).await.unwrap().map(drop),
        ];
        for (denied, key) in denied.into_iter().zip(["`other`", "`other`", "`ap`"]) {
            let error = denied.unwrap_err();
            assert!(
                matches!(error, EtcdError::Unauthenticated { .. }),
                "{error:?}"
            );
            let text = error.to_string();
            for part in [key, "permission denied", "roles"] {
                assert!(text.contains(part), "{text}");
            }
        }
    });
}

fn a_password_that_is_changed_is_told_at_the_next_request_and_heals_when_changed_back(
    version: EtcdVersion,
) {
    let (server, million) = (guarded(version, &[]), million());
    let endpoint = server.endpoint();
    let app = as_app(&million, &server);
    let change = |password: &str| {
        let command = format!(
            "printf '%s\\n' {password} | ETCDCTL_API=3 /usr/bin/etcdctl --endpoints {endpoint} --user root:root-secret user passwd app --interactive=false"
        );
        let status = std::process::Command::new("sh")
            .args(["-c", &command])
            .status();
        assert!(status.unwrap().success());
    };
    million.block_on(async {
        app.call(Put::new("app/k", "v")).await.unwrap().unwrap();
        change("another");
        for _ in 0..3 {
            let write = app.call(Put::new("app/k", "w")).await.unwrap();
            let error = write.unwrap_err();
            assert!(
                matches!(error, EtcdError::Unauthenticated { .. }),
                "{error:?}"
            );
            assert!(
                error.to_string().contains("authentication failed"),
                "{error}"
            );
        }
        change("app-secret");
        app.call(Put::new("app/k", "x")).await.unwrap().unwrap();
    });
}

fn a_watch_whose_user_loses_its_role_and_gets_it_back_misses_nothing(version: EtcdVersion) {
    let (mut server, million) = (guarded(version, &[]), million());
    let endpoint = server.endpoint();
    let app = as_app(&million, &server);
    million.block_on(async {
        let (subscriber, mut heard) = collector(&million);
        app.call(Watch::prefix("app/").to(subscriber))
            .await
            .unwrap()
            .unwrap();
        heard
            .until(|event| event.kind == WatchKind::Synchronized {})
            .await;
        etcdctl(&endpoint, ROOT, &["put", "app/1", "while it may"]);
        heard.until(|event| event.key == b"app/1").await;

        etcdctl(&endpoint, ROOT, &["user", "revoke-role", "app", "app"]);
        let read = app.call(Get::key("app/1")).await.unwrap();
        assert!(
            matches!(read, Err(EtcdError::Unauthenticated { .. })),
            "{read:?}"
        );
        // An open watch is not asked again for what it may; one that is made anew is.
        server.restart();
        etcdctl(&endpoint, ROOT, &["put", "app/2", "while it may not"]);
        etcdctl(&endpoint, ROOT, &["put", "app/3", "while it may not"]);
        etcdctl(&endpoint, ROOT, &["user", "grant-role", "app", "app"]);
        etcdctl(&endpoint, ROOT, &["put", "app/4", "again"]);

        let events = heard.until(|event| event.key == b"app/4").await;
        let (refused, told): (Vec<_>, Vec<_>) = events
            .iter()
            .partition(|event| event.kind == WatchKind::Refused);
        // Depending on when it tried, it was told so or let in at once.
        assert!(refused.iter().all(|event| event.refusal.is_some()));
        let keys: Vec<_> = told.iter().map(|event| event.key.clone()).collect();
        assert_eq!(keys, [b"app/2", b"app/3", b"app/4"]);
        until("the user may read again", async || {
            app.call(Get::key("app/1")).await.unwrap().is_ok()
        })
        .await;
    });
}
