//! What a watch tells when etcd does not let it read, and how it goes on when it is let.

use std::time::Duration;

use million::etcd_service::{
    ConfigChangeEvent, ConfigWatch, Discovery, Etcd, EtcdError, NodeDown, NodeUp, ReadRefused,
    Subscriber, Synchronized, Watch, WatchKind, WatchState, Watches,
};
use million::framework::{Cx, Handler, Message, Service};
use tokio::sync::mpsc;

use crate::house::{Heard, House, etcdctl, settings, until};
use crate::support::real_etcd::EtcdVersion;

/// Turns authentication on: `root`, and `reader` who may read what begins with `open/`.
fn enable_auth(endpoint: &str) {
    let steps: &[&[&str]] = &[
        &["user", "add", "root:secret"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "opener"],
        &[
            "role",
            "grant-permission",
            "opener",
            "read",
            "--prefix=true",
            "open/",
        ],
        &["user", "add", "reader:words"],
        &["user", "grant-role", "reader", "opener"],
        &["auth", "enable"],
    ];
    for step in steps {
        etcdctl(endpoint, step);
    }
}

fn as_root(endpoint: &str, arguments: &[&str]) {
    let login = ["--user", "root:secret"];
    let all: Vec<_> = login.iter().chain(arguments).copied().collect();
    etcdctl(endpoint, &all);
}

fn reader(house: &House) -> million::framework::Handle<Etcd> {
    house.million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{}', request_timeout: 10000, auth: {{ username: reader, password: words }}",
        house.proxy.endpoint()
    ))))
}

#[test]
fn a_watch_that_may_not_read_is_told_why_and_goes_on_when_it_may() {
    House::real(async |house: &mut House| {
        let endpoint = house.server.endpoint();
        enable_auth(&endpoint);
        let etcd = reader(house);
        let (open, mut open_heard) = house.collector();
        etcd.call(Watch::prefix("open/").to(open))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(open_heard.next().await.kind, WatchKind::Synchronized);

        // One that begins with a listing, and one that begins on the stream.
        let (first, mut first_heard) = house.collector();
        let (second, mut second_heard) = house.collector();
        let listed = Watch::prefix("closed/").to(first);
        let followed = Watch::prefix("closed/").from_revision(1).to(second);
        etcd.call(listed).await.unwrap().unwrap();
        etcd.call(followed).await.unwrap().unwrap();
        for heard in [&mut first_heard, &mut second_heard] {
            let event = heard.next().await;
            assert_eq!(event.kind, WatchKind::Refused);
            let refusal = event.refusal.expect("it says why");
            assert!(
                matches!(*refusal, EtcdError::Unauthenticated { .. }),
                "{refusal:?}"
            );
            let text = refusal.to_string();
            for part in ["closed/", "permission denied", "roles of that user"] {
                assert!(text.contains(part), "{text}");
            }
        }
        let states: Vec<_> = etcd.call(Watches).await.unwrap().unwrap();
        let states: Vec<_> = states.iter().map(|watch| watch.state).collect();
        assert_eq!(
            states,
            [
                WatchState::Following,
                WatchState::Refused,
                WatchState::Refused
            ]
        );

        as_root(&endpoint, &["put", "closed/k", "1"]);
        as_root(&endpoint, &["put", "open/k", "1"]);
        assert_eq!(open_heard.next().await.key, b"open/k");
        let permission = [
            "role",
            "grant-permission",
            "opener",
            "read",
            "--prefix=true",
        ];
        let arguments: Vec<_> = permission.iter().chain(&["closed/"]).copied().collect();
        as_root(&endpoint, &arguments);
        let event = first_heard.next().await;
        assert!(event.snapshot && event.key == b"closed/k", "{event:?}");
        assert_eq!(first_heard.next().await.kind, WatchKind::Synchronized);
        assert_eq!(second_heard.next().await.key, b"closed/k");
        as_root(&endpoint, &["put", "closed/k", "2"]);
        for heard in [&mut first_heard, &mut second_heard] {
            assert_eq!(heard.next().await.value, b"2");
            assert_eq!(heard.rest(), [], "a refusal is told once");
        }
    });
}

#[test]
fn a_login_that_etcd_has_forgotten_costs_no_watch_an_event() {
    a_forgotten_login_costs_nothing(EtcdVersion::V3_4);
}

/// 3.5.1 says of a watch whose stream has an ended login that its user may not read.
#[test]
fn a_login_that_etcd_3_5_has_forgotten_costs_no_watch_an_event() {
    a_forgotten_login_costs_nothing(EtcdVersion::V3_5);
}

fn a_forgotten_login_costs_nothing(version: EtcdVersion) {
    House::real_version(version, async |house: &mut House| {
        let endpoint = house.server.endpoint();
        enable_auth(&endpoint);
        let etcd = reader(house);
        let (old, mut old_heard) = house.collector();
        etcd.call(Watch::prefix("open/").to(old))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(old_heard.next().await.kind, WatchKind::Synchronized);
        for round in 0..3 {
            // etcd forgets the tokens of a user whose roles change.
            as_root(&endpoint, &["role", "add", &format!("role-{round}")]);
            as_root(
                &endpoint,
                &["user", "grant-role", "reader", &format!("role-{round}")],
            );
            let (new, mut new_heard) = house.collector();
            etcd.call(Watch::key("open/new").to(new))
                .await
                .unwrap()
                .unwrap();
            loop {
                let event = new_heard.next().await;
                assert_ne!(event.kind, WatchKind::Refused, "{event:?}");
                if event.kind == WatchKind::Synchronized {
                    break;
                }
            }
            let (put, value) = (["put", "open/new"], round.to_string());
            as_root(&endpoint, &[put[0], put[1], &value]);
            for heard in [&mut old_heard, &mut new_heard] {
                let event = heard.next().await;
                assert_eq!(event.value, value.as_bytes(), "{event:?}");
            }
        }
        assert_eq!(old_heard.rest(), []);
    });
}

#[test]
fn a_wrong_password_is_told_to_every_watch() {
    House::real(async |house: &mut House| {
        let endpoint = house.server.endpoint();
        enable_auth(&endpoint);
        let etcd = reader(house);
        let (subscriber, mut heard) = house.collector();
        let watch = Watch::prefix("open/").to(subscriber);
        etcd.call(watch).await.unwrap().unwrap();
        assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
        house.proxy.cut();
        let login = etcd_client::ConnectOptions::new().with_user("root", "secret");
        let mut root = etcd_client::Client::connect([&endpoint], Some(login))
            .await
            .unwrap();
        root.user_change_password("reader", "others").await.unwrap();
        house.proxy.mend();
        let event = heard.next().await;
        assert_eq!(event.kind, WatchKind::Refused);
        let text = event.refusal.expect("it says why").to_string();
        assert!(
            text.contains("authentication failed") && !text.contains("words"),
            "{text}"
        );
        until("it shows", async || {
            let states = etcd.call(Watches).await.unwrap().unwrap();
            states[0].state == WatchState::Refused
        })
        .await;
    });
}

/// Notes refusals, and takes the rest.
struct Reader(mpsc::UnboundedSender<ReadRefused>);
impl Service for Reader {}
impl Handler<ReadRefused> for Reader {
    async fn handle(cx: &Cx<Self>, refused: ReadRefused) {
        // A test that has ended wants no more.
        let _ = cx.state().0.send(refused);
    }
}
macro_rules! takes {
    ($($message:ty),*) => {
        $(impl Handler<$message> for Reader {
            async fn handle(_: &Cx<Self>, _: $message) -> <$message as Message>::Reply {}
        })*
    };
}
takes!(NodeUp, NodeDown, Synchronized, ConfigChangeEvent);

#[test]
fn discovery_and_watches_of_the_configuration_tell_a_refusal_to_those_who_want_to_hear_it() {
    House::real(async |house: &mut House| {
        enable_auth(&house.server.endpoint());
        let etcd = reader(house);
        let (told, heard) = mpsc::unbounded_channel();
        let (services, mut heard) = (house.million.services(), Heard(heard));
        let reader = services.spawn(Reader(told));
        let is_refused = |refused: &ReadRefused, subject: &str| {
            assert_eq!(refused.subject, subject);
            let denied = matches!(refused.error, EtcdError::Unauthenticated { .. });
            assert!(denied, "{refused:?}");
        };

        let subscriber = Subscriber::of(&reader).with_refusals(&reader);
        let discovery = services.spawn(Discovery::new(etcd.clone(), "closed/", subscriber));
        is_refused(&heard.next().await, "closed/");
        drop(discovery.stop().await);

        let watch = ConfigWatch::path("limit", reader.recipient()).refusals(reader.recipient());
        etcd.call(watch.clone()).await.unwrap().unwrap();
        is_refused(&heard.next().await, "limit");
        let changes = etcd
            .call(watch.changes_only())
            .timeout(Duration::from_secs(30));
        let refused = changes.await.unwrap().unwrap_err();
        let denied = matches!(refused, EtcdError::Unauthenticated { .. });
        assert!(denied, "it does not wait for its time to end: {refused}");
    });
}
