//! What the owner of a registration is told.

use std::sync::Arc;
use std::time::Duration;

use million::etcd_service::{
    CheckHeartbeats, Delete, LossReason, Put, Register, Registration, RegistrationChange,
    RegistrationEvent, RegistrationStatus, Revoke,
};
use million::framework::{Cx, Handler, Options, Recipient, Service};
use tokio::sync::{Semaphore, mpsc};

use crate::house::{DEADLINE, Heard, House, until};
use crate::registering::{found, register};

on_both!(
    an_owner_is_told_that_it_was_lost_and_healed,
    an_owner_is_told_of_each_outage_that_its_lease_outlives,
    an_owner_is_told_that_its_key_was_deleted_and_put_again,
    an_owner_is_told_that_its_key_was_taken_and_given_back,
    a_key_taken_while_its_lease_was_lost_is_not_taken_back,
    an_owner_that_takes_no_events_does_not_hold_up_its_registration,
    an_owner_that_has_ended_does_not_end_its_registration,
    a_status_can_be_waited_for,
);

#[test]
fn a_registration_survives_a_standstill_of_etcd_beyond_its_ttl() {
    House::real(async |house| {
        let (owner, mut heard) = owner(house);
        let registration = register_for(house, "r/k", 2, owner).await;
        house.real_server().pause();
        assert!(matches!(
            heard.next().await.change,
            RegistrationChange::NearExpiry { .. }
        ));
        let lease = registration.lease();
        let reason = LossReason::Overdue;
        assert_eq!(
            heard.next().await.change,
            RegistrationChange::Lost { lease, reason }
        );
        assert_eq!(registration.status(), RegistrationStatus::Lost);
        house.real_server().resume();
        healed(&mut heard, &registration).await;
        let back = found(house).await.unwrap();
        assert_eq!(back.lease, Some(registration.lease()));
    });
}

struct Owner(mpsc::UnboundedSender<RegistrationEvent>);
impl Service for Owner {}
impl Handler<RegistrationEvent> for Owner {
    async fn handle(cx: &Cx<Self>, event: RegistrationEvent) {
        // A test that has ended wants no more.
        let _ = cx.state().0.send(event);
    }
}

fn owner(house: &House) -> (Recipient<RegistrationEvent>, Heard<RegistrationEvent>) {
    let (told, heard) = mpsc::unbounded_channel();
    let options = Options::new().max_in_flight(1);
    let owner = house.million.spawn_with(options, Owner(told));
    (owner.recipient(), Heard(heard))
}

async fn register_for(
    house: &House,
    key: &str,
    ttl: u64,
    owner: Recipient<RegistrationEvent>,
) -> Registration {
    let register = Register::new(key, "here", Duration::from_secs(ttl)).notify(owner);
    house.etcd.call(register).await.unwrap().unwrap()
}

/// The next event is that it was healed, under the lease that it has now. Returns for how long it was gone at most.
async fn healed(heard: &mut Heard<RegistrationEvent>, registration: &Registration) -> Duration {
    let event = heard.next().await;
    let RegistrationChange::Healed { lease, outage } = event.change else {
        panic!("healed is told next, not {event:?}");
    };
    assert_eq!(event.key, registration.key());
    assert_eq!(lease, registration.lease());
    outage
}

async fn an_owner_is_told_that_it_was_lost_and_healed(house: &mut House) {
    let (owner, mut heard) = owner(house);
    let registration = register_for(house, "r/k", 600, owner).await;
    let lost = registration.lease();
    house.etcd.call(Revoke(lost)).await.unwrap().unwrap();
    let event = heard.next().await;
    // Whichever is noticed first: that the key is gone, or that the lease is.
    let RegistrationChange::Lost { lease, .. } = event.change else {
        panic!("lost is told first, not {event:?}");
    };
    assert_eq!(lease, lost);
    let outage = healed(&mut heard, &registration).await;
    assert!(outage > Duration::ZERO);
    assert_ne!(registration.lease(), lost);
    assert_eq!(registration.status(), RegistrationStatus::Held);
    assert_eq!(heard.rest(), []);
}

async fn an_owner_is_told_that_its_key_was_deleted_and_put_again(house: &mut House) {
    let (owner, mut heard) = owner(house);
    let registration = register_for(house, "r/k", 600, owner).await;
    let lease = registration.lease();
    house.etcd.call(Delete::key("r/k")).await.unwrap().unwrap();
    let reason = LossReason::Deleted;
    assert_eq!(
        heard.next().await.change,
        RegistrationChange::Lost { lease, reason }
    );
    healed(&mut heard, &registration).await;
    assert_eq!(found(house).await.unwrap().lease, Some(lease));
    assert_eq!(registration.regrants(), 0);
}

async fn an_owner_is_told_that_its_key_was_taken_and_given_back(house: &mut House) {
    let (owner, mut heard) = owner(house);
    let registration = register_for(house, "r/k", 600, owner).await;
    let taker = register(&house.etcd, 600).await;
    let taken = RegistrationChange::Taken {
        key: "r/k".to_owned(),
        by: Some(taker.lease()),
    };
    assert_eq!(heard.next().await.change, taken);
    until("the status says so", async || {
        registration.status() == RegistrationStatus::Taken
    })
    .await;
    // What the other changes is none of its business.
    let put = Put::new("r/k", "theirs").lease(taker.lease());
    house.etcd.call(put).await.unwrap().unwrap();
    taker.unregister().await.unwrap();
    healed(&mut heard, &registration).await;
    let back = found(house).await.unwrap();
    assert_eq!(back.lease, Some(registration.lease()));
    assert_eq!(back.value, b"here");
}

/// The lease is kept alive past the service, so it is overdue for the service alone, and lives.
async fn an_owner_is_told_of_each_outage_that_its_lease_outlives(house: &mut House) {
    let (owner, mut heard) = owner(house);
    let registration = register_for(house, "r/k", 2, owner).await;
    let lease = registration.lease();
    let mut client = house.outside().await;
    let (mut keeper, mut answers) = client.lease_keep_alive(lease.0).await.unwrap();
    let keeping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            keeper.keep_alive().await.unwrap();
            answers.message().await.unwrap();
        }
    });
    for round in 0..3 {
        house.proxy.cut();
        let near = heard.next().await.change;
        let is_near = matches!(near, RegistrationChange::NearExpiry { .. });
        assert!(is_near, "outage {round}: {near:?}");
        let reason = LossReason::Overdue;
        let lost = RegistrationChange::Lost { lease, reason };
        assert_eq!(heard.next().await.change, lost, "outage {round}");
        house.proxy.mend();
        healed(&mut heard, &registration).await;
    }
    keeping.abort();
    assert_eq!((registration.lease(), registration.regrants()), (lease, 0));
}

async fn a_key_taken_while_its_lease_was_lost_is_not_taken_back(house: &mut House) {
    let (owner, mut heard) = owner(house);
    let registration = register_for(house, "r/k", 2, owner).await;
    let mut client = house.outside().await;
    house.proxy.cut();
    until("the lease has ended", async || {
        client.get("r/k", None).await.unwrap().kvs().is_empty()
    })
    .await;
    client.put("r/k", "theirs", None).await.unwrap();
    house.proxy.mend();
    let by = None;
    let key = "r/k".to_owned();
    let taken = RegistrationChange::Taken { key, by };
    while heard.next().await.change != taken {}
    until("the status says so", async || {
        registration.status() == RegistrationStatus::Taken
    })
    .await;
    assert_eq!(found(house).await.unwrap().value, b"theirs");
}

/// Takes one event for each permit.
struct Slow(Arc<Semaphore>);
impl Service for Slow {}
impl Handler<RegistrationEvent> for Slow {
    async fn handle(cx: &Cx<Self>, _: RegistrationEvent) {
        let permits = Arc::clone(&cx.state().0);
        permits.acquire().await.unwrap().forget();
    }
}

async fn an_owner_that_takes_no_events_does_not_hold_up_its_registration(house: &mut House) {
    let permits = Arc::new(Semaphore::new(0));
    let options = Options::new().mailbox(1).max_in_flight(1);
    let slow = Slow(Arc::clone(&permits));
    let slow = house.million.spawn_with(options, slow);
    let _registration = register_for(house, "r/k", 600, slow.recipient()).await;
    for _ in 0..100 {
        let before = found(house).await.unwrap().create_revision;
        house.etcd.call(Delete::key("r/k")).await.unwrap().unwrap();
        let check = house.etcd.call(CheckHeartbeats).await.unwrap();
        assert!(check.is_ok(), "{check:?}");
        until("the key is back", async || {
            found(house)
                .await
                .is_some_and(|pair| pair.create_revision > before)
        })
        .await;
    }
    permits.add_permits(1000);
}

async fn an_owner_that_has_ended_does_not_end_its_registration(house: &mut House) {
    let ended = house.million.spawn(Slow(Arc::new(Semaphore::new(0))));
    let registration = register_for(house, "r/k", 600, ended.recipient()).await;
    ended.kill().await;
    for _ in 0..3 {
        let before = found(house).await.unwrap().create_revision;
        house.etcd.call(Delete::key("r/k")).await.unwrap().unwrap();
        until("the key is back", async || {
            found(house)
                .await
                .is_some_and(|pair| pair.create_revision > before)
        })
        .await;
    }
    assert_eq!(registration.unregister().await, Ok(()));
}

async fn a_status_can_be_waited_for(house: &mut House) {
    let mut registration = register(&house.etcd, 2).await;
    assert_eq!(registration.status(), RegistrationStatus::Held);
    let mut becomes = async |status: RegistrationStatus| {
        let becoming = async { while registration.status_changed().await != status {} };
        let became = tokio::time::timeout(DEADLINE, becoming).await;
        assert!(became.is_ok(), "waited in vain for {status:?}");
    };
    house.proxy.cut();
    becomes(RegistrationStatus::Lost).await;
    house.proxy.mend();
    becomes(RegistrationStatus::Held).await;
    assert_eq!(
        found(house).await.unwrap().lease,
        Some(registration.lease())
    );
}
