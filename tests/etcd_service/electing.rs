//! Leader election and its observers.

use std::time::Duration;

use million::etcd_service::{
    Campaign, EtcdError, Leader, LeaderEvent, Leadership, Leases, Loss, Observe, Revoke,
};
use million::framework::{Cx, Handler, Options, Recipient, Service as AnyService};
use tokio::sync::mpsc;

use crate::asking::{ok, refused};
use crate::house::{DEADLINE, Heard, House, until};
use crate::locking::{Service, until_nothing_is_left, until_queue};

on_both!(
    who_campaigns_first_leads_until_it_resigns,
    a_leader_proclaims_what_all_can_see,
    a_leadership_that_is_lost_is_told_and_proclaims_no_more,
    a_candidacy_that_is_dropped_is_withdrawn,
    observers_are_told_each_leader_and_each_value_in_order,
    observers_are_told_the_newest_leader_after_a_cut_and_nothing_twice,
    a_slow_observer_is_told_everything_in_order,
    an_observation_that_was_ended_tells_nothing_more,
);

const LONG: Duration = Duration::from_secs(600);

async fn lead(etcd: &Service, value: &str) -> Leadership {
    let campaign = Campaign::new("e", value).ttl(LONG);
    let acquiring = etcd.call(campaign).await.unwrap();
    let had = tokio::time::timeout(DEADLINE, acquiring).await;
    had.expect("it leads in time").unwrap()
}

async fn leader(etcd: &Service) -> Option<String> {
    let leader = ok(etcd, Leader::of("e")).await?;
    Some(String::from_utf8(leader.value).unwrap())
}

struct Observer(mpsc::UnboundedSender<String>);
impl AnyService for Observer {}
impl Handler<LeaderEvent> for Observer {
    async fn handle(cx: &Cx<Self>, event: LeaderEvent) {
        assert_eq!(event.name, b"e");
        let value = String::from_utf8(event.leader.value).unwrap();
        // A test that has ended wants no more.
        let _ = cx.state().0.send(value);
    }
}

fn observer(house: &House, mailbox: u32) -> (Recipient<LeaderEvent>, Heard<String>) {
    let (sender, heard) = mpsc::unbounded_channel();
    let options = Options::new().max_in_flight(1).mailbox(mailbox);
    let observer = house.million.spawn_with(options, Observer(sender));
    (observer.recipient(), Heard(heard))
}

async fn who_campaigns_first_leads_until_it_resigns(house: &mut House) {
    let etcd = &house.etcd;
    let neighbour = house.neighbour();
    assert_eq!(leader(etcd).await, None);
    let first = lead(etcd, "one").await;
    assert!(first.is_held() && first.key().starts_with(b"e/"));
    assert_eq!(leader(&neighbour).await.as_deref(), Some("one"));
    let second = neighbour.call(Campaign::new("e", "two").ttl(LONG)).await;
    let second = second.unwrap();
    until_queue(etcd, "e", 2).await;
    assert_eq!(leader(etcd).await.as_deref(), Some("one"));
    let revision = first.revision();
    first.resign().await.unwrap();
    let second = tokio::time::timeout(DEADLINE, second).await.unwrap();
    let second = second.unwrap();
    assert!(second.revision() > revision);
    assert_eq!(leader(etcd).await.as_deref(), Some("two"));
    drop(second);
    until_nothing_is_left(etcd, "e").await;
    assert_eq!(leader(etcd).await, None);
}

async fn a_leader_proclaims_what_all_can_see(house: &mut House) {
    let etcd = &house.etcd;
    let leadership = lead(etcd, "one").await;
    leadership.proclaim("two").await.unwrap();
    assert_eq!(leader(etcd).await.as_deref(), Some("two"));
    leadership.proclaim("").await.unwrap();
    assert_eq!(leader(etcd).await.as_deref(), Some(""));
    let condition = leadership.condition();
    let holds = million::etcd_service::Txn::new().when(condition);
    assert!(ok(etcd, holds).await.succeeded);
}

async fn a_leadership_that_is_lost_is_told_and_proclaims_no_more(house: &mut House) {
    let etcd = &house.etcd;
    let leadership = lead(etcd, "one").await;
    ok(etcd, Revoke(leadership.lease())).await;
    let loss = tokio::time::timeout(DEADLINE, leadership.lost()).await;
    assert_eq!(loss.unwrap(), Loss::Ended);
    let error = leadership.proclaim("two").await.unwrap_err();
    assert!(matches!(error, EtcdError::NotFound { .. }), "{error:?}");
    assert_eq!(leader(etcd).await, None);
    let error = leadership.resign().await.unwrap_err();
    assert!(matches!(error, EtcdError::NotFound { .. }), "{error:?}");
}

async fn a_candidacy_that_is_dropped_is_withdrawn(house: &mut House) {
    let etcd = &house.etcd;
    let first = lead(etcd, "one").await;
    let second = etcd
        .call(Campaign::new("e", "two").ttl(LONG))
        .await
        .unwrap();
    until_queue(etcd, "e", 2).await;
    drop(second);
    until_queue(etcd, "e", 1).await;
    let late = Campaign::new("e", "late").timeout(Duration::from_millis(300));
    let late = etcd.call(late).await.unwrap().await.unwrap_err();
    assert!(matches!(late, EtcdError::TimedOut { .. }), "{late:?}");
    until("one lease is left", async || {
        ok(etcd, Leases).await == [first.lease()]
    })
    .await;
}

async fn observers_are_told_each_leader_and_each_value_in_order(house: &mut House) {
    let etcd = &house.etcd;
    let (subscriber, mut heard) = observer(house, 16);
    let observe = Observe::new("e", subscriber.clone());
    let _observation = ok(etcd, observe).await;
    let first = lead(etcd, "one").await;
    assert_eq!(heard.next().await, "one");
    first.proclaim("one, again").await.unwrap();
    assert_eq!(heard.next().await, "one, again");
    let second = etcd
        .call(Campaign::new("e", "two").ttl(LONG))
        .await
        .unwrap();
    until_queue(etcd, "e", 2).await;
    first.proclaim("one, for the last time").await.unwrap();
    assert_eq!(heard.next().await, "one, for the last time");
    first.resign().await.unwrap();
    assert_eq!(heard.next().await, "two");
    let second = tokio::time::timeout(DEADLINE, second).await.unwrap();
    second.unwrap().resign().await.unwrap();

    let _third = lead(etcd, "three").await;
    assert_eq!(heard.next().await, "three");
    // One who comes later is told who leads now.
    let (other, mut others) = observer(house, 16);
    let _other = ok(etcd, Observe::new("e", other)).await;
    assert_eq!(others.next().await, "three");
    let nameless = refused(etcd, Observe::new("", subscriber)).await;
    assert!(
        matches!(nameless, EtcdError::Invalid { .. }),
        "{nameless:?}"
    );
}

async fn observers_are_told_the_newest_leader_after_a_cut_and_nothing_twice(house: &mut House) {
    let neighbour = house.neighbour();
    let (subscriber, mut heard) = observer(house, 16);
    let first = lead(&neighbour, "one").await;
    let _observation = ok(&house.etcd, Observe::new("e", subscriber)).await;
    assert_eq!(heard.next().await, "one");
    for _ in 0..5 {
        house.proxy.cut();
        house.proxy.mend();
        // One that begins anew is there about when the other is back, which has nothing new to tell.
        let (fresh, mut told) = observer(house, 16);
        let _fresh = ok(&house.etcd, Observe::new("e", fresh)).await;
        assert_eq!(told.next().await, "one");
    }
    first.proclaim("one, again").await.unwrap();
    assert_eq!(heard.next().await, "one, again");

    house.proxy.cut();
    first.resign().await.unwrap();
    let second = lead(&neighbour, "two").await;
    house.proxy.mend();
    assert_eq!(heard.next().await, "two");
    second.proclaim("two, again").await.unwrap();
    assert_eq!(heard.next().await, "two, again");
    assert_eq!(heard.rest(), Vec::<String>::new());
}

async fn a_slow_observer_is_told_everything_in_order(house: &mut House) {
    const VALUES: usize = 200;
    let etcd = &house.etcd;
    let (subscriber, mut heard) = observer(house, 1);
    let _observation = ok(etcd, Observe::new("e", subscriber)).await;
    let leadership = lead(etcd, "0").await;
    assert_eq!(heard.next().await, "0");
    for value in 1..=VALUES {
        leadership.proclaim(value.to_string()).await.unwrap();
    }
    for value in 1..=VALUES {
        assert_eq!(heard.next().await, value.to_string());
    }
}

async fn an_observation_that_was_ended_tells_nothing_more(house: &mut House) {
    let etcd = &house.etcd;
    let (subscriber, mut heard) = observer(house, 16);
    let observation = ok(etcd, Observe::new("e", subscriber.clone())).await;
    let leadership = lead(etcd, "one").await;
    assert_eq!(heard.next().await, "one");
    observation.end().await;
    leadership.proclaim("two").await.unwrap();
    let _again = ok(etcd, Observe::new("e", subscriber)).await;
    // The new one tells it, and the ended one had its chance before.
    assert_eq!(heard.next().await, "two");
    assert_eq!(heard.rest(), Vec::<String>::new());
}
