//! Configuration is read, set, and watched with the old value of every change.

use std::collections::BTreeMap;
use std::sync::Arc;

use million::etcd_service::{
    ConfigChangeEvent, ConfigChangeKind, ConfigDelete, ConfigGet, ConfigSet, ConfigUnwatch,
    ConfigValue, ConfigWatch, ConfigWatchId, EtcdError, Get,
};
use million::framework::{Cx, Handle, Handler, Options, Service};
use tokio::sync::{Semaphore, mpsc};

use crate::house::{Heard, House, until};

on_both!(
    a_value_is_set_read_and_deleted_and_an_empty_one_is_a_value,
    a_slash_before_the_path_makes_no_difference,
    what_is_set_is_told_first_then_changes_with_both_values,
    changes_only_begin_with_the_first_change_after_the_reply,
    a_path_is_not_a_prefix,
    the_same_value_set_again_is_no_change,
    after_unwatching_nothing_is_told,
    after_unwatching_what_is_in_the_mailbox_is_not_handled,
    an_unwatched_watch_is_not_found,
    a_watch_ends_with_its_subscriber,
    changes_are_told_in_order_to_a_slow_subscriber,
    after_an_outage_with_compaction_the_old_values_are_those_told_before,
    changes_only_says_so_when_etcd_does_not_answer,
    an_empty_path_is_refused,
);

/// Takes one message for each permit.
struct Listener {
    permits: Arc<Semaphore>,
    told: mpsc::UnboundedSender<ConfigChangeEvent>,
}
impl Service for Listener {}
impl Handler<ConfigChangeEvent> for Listener {
    async fn handle(cx: &Cx<Self>, event: ConfigChangeEvent) {
        let permits = Arc::clone(&cx.state().permits);
        permits.acquire().await.unwrap().forget();
        // A test that has ended wants no more.
        let _ = cx.state().told.send(event);
    }
}

fn listen_slowly(
    house: &House,
    permits: &Arc<Semaphore>,
) -> (Handle<Listener>, Heard<ConfigChangeEvent>) {
    let (told, heard) = mpsc::unbounded_channel();
    let options = Options::new().mailbox(1).max_in_flight(1);
    let permits = Arc::clone(permits);
    let listener = house
        .million
        .spawn_with(options, Listener { permits, told });
    (listener, Heard(heard))
}

fn listen(house: &House) -> (Handle<Listener>, Heard<ConfigChangeEvent>) {
    listen_slowly(house, &Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
}

async fn set(house: &House, path: &str, value: &str) {
    let set = ConfigSet::new(path, value);
    house.etcd.call(set).await.unwrap().unwrap();
}

async fn delete(house: &House, path: &str) -> bool {
    let delete = ConfigDelete::path(path);
    house.etcd.call(delete).await.unwrap().unwrap()
}

async fn get(house: &House, path: &str) -> Option<ConfigValue> {
    house
        .etcd
        .call(ConfigGet::path(path))
        .await
        .unwrap()
        .unwrap()
}

async fn watch(house: &House, watch: ConfigWatch) -> ConfigWatchId {
    house.etcd.call(watch).await.unwrap().unwrap()
}

/// Path, old, new and kind.
type Told = (String, Option<String>, Option<String>, ConfigChangeKind);

fn told(event: ConfigChangeEvent) -> Told {
    let text = |value: Option<ConfigValue>| value.map(|value| value.text().unwrap().to_owned());
    (event.path, text(event.old), text(event.new), event.kind)
}

fn expected(path: &str, old: &str, new: &str, kind: ConfigChangeKind) -> Told {
    let text = |text: &str| (text != "-").then(|| text.to_owned());
    (path.to_owned(), text(old), text(new), kind)
}

async fn a_value_is_set_read_and_deleted_and_an_empty_one_is_a_value(house: &mut House) {
    assert_eq!(get(house, "a/b").await, None);
    set(house, "a/b", "10").await;
    assert_eq!(get(house, "a/b").await.unwrap().parse::<u32>(), Ok(10));
    set(house, "a/b", "").await;
    assert_eq!(get(house, "a/b").await.unwrap().text(), Ok(""));
    assert!(delete(house, "a/b").await);
    assert!(!delete(house, "a/b").await);
    assert_eq!(get(house, "a/b").await, None);
}

async fn a_slash_before_the_path_makes_no_difference(house: &mut House) {
    set(house, "/a/b", "10").await;
    assert_eq!(get(house, "a/b").await.unwrap().path(), "a/b");
    let key = house.etcd.call(Get::key("/config/a/b")).await;
    assert_eq!(key.unwrap().unwrap().unwrap().value, b"10");
}

async fn what_is_set_is_told_first_then_changes_with_both_values(house: &mut House) {
    use ConfigChangeKind::{Changed, Created, Deleted, Present};
    set(house, "c/a", "1").await;
    set(house, "c/b", "2").await;
    set(house, "d/a", "other").await;
    let (listener, mut heard) = listen(house);
    let id = watch(house, ConfigWatch::prefix("c/", listener.recipient())).await;
    assert_eq!(told(heard.next().await), expected("c/a", "-", "1", Present));
    assert_eq!(told(heard.next().await), expected("c/b", "-", "2", Present));
    set(house, "c/a", "").await;
    assert!(delete(house, "c/b").await);
    set(house, "d/a", "changed").await;
    set(house, "c/b", "3").await;
    assert_eq!(told(heard.next().await), expected("c/a", "1", "", Changed));
    assert_eq!(told(heard.next().await), expected("c/b", "2", "-", Deleted));
    let last = heard.next().await;
    assert_eq!(last.watch, id);
    assert_eq!(told(last), expected("c/b", "-", "3", Created));
}

async fn changes_only_begin_with_the_first_change_after_the_reply(house: &mut House) {
    use ConfigChangeKind::{Changed, Deleted};
    for round in 0..20 {
        let path = format!("round/{round}");
        set(house, &path, "1").await;
        let (listener, mut heard) = listen(house);
        let changes = ConfigWatch::path(path.as_str(), listener.recipient()).changes_only();
        let id = watch(house, changes).await;
        set(house, &path, "2").await;
        delete(house, &path).await;
        assert_eq!(told(heard.next().await), expected(&path, "1", "2", Changed));
        assert_eq!(told(heard.next().await), expected(&path, "2", "-", Deleted));
        house.etcd.call(ConfigUnwatch(id)).await.unwrap().unwrap();
    }
}

async fn a_path_is_not_a_prefix(house: &mut House) {
    let (listener, mut heard) = listen(house);
    watch(house, ConfigWatch::path("c/a", listener.recipient())).await;
    set(house, "c/ab", "other").await;
    set(house, "c/a", "1").await;
    assert_eq!(heard.next().await.path, "c/a");
}

async fn the_same_value_set_again_is_no_change(house: &mut House) {
    use ConfigChangeKind::{Changed, Present};
    set(house, "c", "1").await;
    let (listener, mut heard) = listen(house);
    watch(house, ConfigWatch::path("c", listener.recipient())).await;
    assert_eq!(told(heard.next().await), expected("c", "-", "1", Present));
    set(house, "c", "1").await;
    set(house, "c", "2").await;
    assert_eq!(told(heard.next().await), expected("c", "1", "2", Changed));
}

async fn after_unwatching_nothing_is_told(house: &mut House) {
    let (listener, mut heard) = listen(house);
    let id = watch(
        house,
        ConfigWatch::path("c", listener.recipient()).changes_only(),
    )
    .await;
    house.etcd.call(ConfigUnwatch(id)).await.unwrap().unwrap();
    set(house, "c", "1").await;
    let again = watch(house, ConfigWatch::path("c", listener.recipient())).await;
    assert_ne!(again, id);
    let first = heard.next().await;
    assert_eq!(
        (first.watch, first.kind),
        (again, ConfigChangeKind::Present)
    );
}

async fn after_unwatching_what_is_in_the_mailbox_is_not_handled(house: &mut House) {
    let permits = Arc::new(Semaphore::new(0));
    let (listener, mut heard) = listen_slowly(house, &permits);
    let all = ConfigWatch::prefix("c/", listener.recipient());
    let id = watch(house, all.clone()).await;
    for path in ["c/1", "c/2"] {
        set(house, path, "").await;
    }
    until("one has begun, and one waits in the mailbox", async || {
        let stats = listener.stats();
        (stats.in_flight, stats.queued) == (1, 1)
    })
    .await;
    house.etcd.call(ConfigUnwatch(id)).await.unwrap().unwrap();
    permits.add_permits(100);
    let again = watch(house, all).await;
    let begun = heard.next().await;
    assert_eq!((begun.watch, begun.path.as_str()), (id, "c/1"));
    for path in ["c/1", "c/2"] {
        let next = heard.next().await;
        // What had not begun is dropped.
        assert_eq!((next.watch, next.path.as_str()), (again, path));
    }
}

async fn an_unwatched_watch_is_not_found(house: &mut House) {
    let (listener, _heard) = listen(house);
    let id = watch(house, ConfigWatch::path("c", listener.recipient())).await;
    assert_eq!(house.etcd.call(ConfigUnwatch(id)).await, Ok(Ok(())));
    let again = house.etcd.call(ConfigUnwatch(id)).await.unwrap();
    assert!(
        matches!(again, Err(EtcdError::NotFound { .. })),
        "{again:?}"
    );
}

async fn a_watch_ends_with_its_subscriber(house: &mut House) {
    let services = house.million.services().count();
    let (listener, _heard) = listen(house);
    let id = watch(house, ConfigWatch::path("c", listener.recipient())).await;
    listener.kill().await;
    until("its watcher has ended", async || {
        house.million.services().count() == services
    })
    .await;
    let ended = house.etcd.call(ConfigUnwatch(id)).await.unwrap();
    assert!(
        matches!(ended, Err(EtcdError::NotFound { .. })),
        "{ended:?}"
    );
}

async fn changes_are_told_in_order_to_a_slow_subscriber(house: &mut House) {
    let permits = Arc::new(Semaphore::new(0));
    let (listener, mut heard) = listen_slowly(house, &permits);
    watch(
        house,
        ConfigWatch::path("c", listener.recipient()).changes_only(),
    )
    .await;
    for value in 0..50 {
        set(house, "c", &value.to_string()).await;
    }
    permits.add_permits(50);
    let mut before = None;
    for value in 0..50 {
        let (_, old, new, _) = told(heard.next().await);
        assert_eq!(
            (&old, new.as_deref()),
            (&before, Some(value.to_string().as_str()))
        );
        before = new;
    }
}

async fn after_an_outage_with_compaction_the_old_values_are_those_told_before(house: &mut House) {
    set(house, "c/deleted", "1").await;
    set(house, "c/changed", "1").await;
    set(house, "c/same", "1").await;
    let (listener, mut heard) = listen(house);
    watch(
        house,
        ConfigWatch::prefix("c/", listener.recipient()).changes_only(),
    )
    .await;
    set(house, "c/changed", "2").await;
    heard.next().await;
    let mut client = house.outside().await;
    house.proxy.cut();
    for value in ["3", "4", "5"] {
        client.put("/config/c/changed", value, None).await.unwrap();
    }
    client.put("/config/c/same", "2", None).await.unwrap();
    client.put("/config/c/same", "1", None).await.unwrap();
    client.delete("/config/c/deleted", None).await.unwrap();
    client.put("/config/c/created", "1", None).await.unwrap();
    let last = client.put("/config/c/created", "2", None).await.unwrap();
    let revision = last.header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    house.proxy.mend();
    let mut view = BTreeMap::new();
    for _ in 0..3 {
        let (path, old, new, kind) = told(heard.next().await);
        view.insert(path, (old, new, kind));
    }
    let change = |old: &str, new: &str, kind| {
        let (_, old, new, kind) = expected("", old, new, kind);
        (old, new, kind)
    };
    let expected = BTreeMap::from([
        (
            "c/changed".to_owned(),
            change("2", "5", ConfigChangeKind::Changed),
        ),
        (
            "c/created".to_owned(),
            change("-", "2", ConfigChangeKind::Created),
        ),
        (
            "c/deleted".to_owned(),
            change("1", "-", ConfigChangeKind::Deleted),
        ),
    ]);
    assert_eq!(view, expected);
    assert_eq!(heard.rest(), []);
}

async fn changes_only_says_so_when_etcd_does_not_answer(house: &mut House) {
    let (listener, _heard) = listen(house);
    let services = house.million.services().count();
    set(house, "c", "1").await;
    house.proxy.cut();
    let changes = ConfigWatch::path("c", listener.recipient()).changes_only();
    let watch = house.etcd.call(changes).without_timeout().await.unwrap();
    assert!(
        matches!(watch, Err(EtcdError::TimedOut { .. })),
        "{watch:?}"
    );
    until("no watcher is left", async || {
        house.million.services().count() == services
    })
    .await;
}

async fn an_empty_path_is_refused(house: &mut House) {
    for path in ["", "/"] {
        let made = house.etcd.call(ConfigSet::new(path, "1")).await.unwrap();
        assert!(matches!(made, Err(EtcdError::Invalid { .. })), "{made:?}");
        let (listener, _heard) = listen(house);
        let made = ConfigWatch::path(path, listener.recipient());
        let made = house.etcd.call(made).await.unwrap();
        assert!(matches!(made, Err(EtcdError::Invalid { .. })), "{made:?}");
    }
}
