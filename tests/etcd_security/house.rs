//! A `Million`, services of etcd in it, and what they hear.

use std::time::Duration;

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Etcd, WatchEvent};
use million::framework::settings::Document;
use million::framework::{Cx, ExitReason, Handler, Million, Recipient, Service};
use tokio::sync::mpsc;

/// Far beyond what anything here takes on a busy machine: only a failure waits for so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// Makes a test of each case for each release: what they say of users and tokens differs.
macro_rules! on_each_release {
    ($($case:ident),* $(,)?) => {
        mod v3_4 {
            $(#[test] fn $case() { super::$case(crate::support::real_etcd::EtcdVersion::V3_4); })*
        }
        mod v3_5 {
            $(#[test] fn $case() { super::$case(crate::support::real_etcd::EtcdVersion::V3_5); })*
        }
    };
}

pub(crate) fn million() -> Million {
    Million::builder().workers(1).build().unwrap()
}

/// A service with settings made of the inside of the braces of the section `etcd`.
pub(crate) fn etcd(inside: &str) -> Etcd {
    let document = Document::parse(format!("etcd: {{ {inside} }}"), "a test").unwrap();
    Etcd::new(EtcdSettings::from_document(&document).unwrap())
}

/// Why a service with such settings does not start.
pub(crate) fn refusal(million: &Million, inside: &str) -> String {
    let reason = million.block_on(million.spawn(etcd(inside)).closed());
    match reason {
        ExitReason::StartFailed(text) => text,
        other => panic!("it should not have started: {other:?}"),
    }
}

/// Runs `etcdctl` with a user, or without.
pub(crate) fn etcdctl(endpoint: &str, user: Option<&str>, arguments: &[&str]) {
    let mut command = crate::support::etcdctl::etcdctl(endpoint);
    command.args(arguments);
    if let Some(user) = user {
        command.args(["--user", user]);
    }
    let output = command.output().expect("etcdctl can be started");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Waits until a condition holds, looking again and again.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for: {what}");
}

struct Collector(mpsc::UnboundedSender<WatchEvent>);
impl Service for Collector {}
impl Handler<WatchEvent> for Collector {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        // A test that has ended wants no more.
        let _ = cx.state().0.send(event);
    }
}

/// What a subscriber of watches hears.
pub(crate) struct Heard(mpsc::UnboundedReceiver<WatchEvent>);

/// A subscriber of watches that takes everything at once.
pub(crate) fn collector(million: &Million) -> (Recipient<WatchEvent>, Heard) {
    let (sender, heard) = mpsc::unbounded_channel();
    let collector = million.spawn(Collector(sender));
    (collector.recipient(), Heard(heard))
}

impl Heard {
    /// The events up to the first that is as wanted.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&WatchEvent) -> bool) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        loop {
            let next = tokio::time::timeout(DEADLINE, self.0.recv()).await;
            let event = next
                .unwrap_or_else(|_| panic!("not told in time; told: {events:?}"))
                .expect("the subscriber lives");
            let found = wanted(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }
}
