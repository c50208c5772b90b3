//! A registration holds its key there, and takes it away when it is let go.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use million::etcd_service::{
    CheckHeartbeats, Delete, Etcd, EtcdError, Get, KeyValue, LossReason, Put, Register,
    Registration, RegistrationChange, RegistrationEvent, RegistrationStatus, Revoke,
};
use million::framework::{Cx, ExitReason, Handle, Handler, Options, Recipient, Service};
use tokio::sync::{Semaphore, mpsc};

use crate::house::{DEADLINE, Heard, House, until};

on_both!(
    a_registered_key_is_there_and_stays_beyond_its_ttl,
    a_registration_that_is_dropped_takes_its_key_away,
    unregister_waits_until_the_key_is_gone,
    a_service_that_stops_takes_its_registered_keys_away,
    a_lease_revoked_by_another_is_granted_again_and_the_key_put_again,
    a_key_deleted_by_another_is_put_again,
    a_key_taken_by_another_is_left_to_them,
    a_registration_survives_an_outage_longer_than_its_ttl,
    a_registration_that_cannot_be_made_says_why,
    several_keys_come_and_go_together,
    an_owner_is_told_that_it_was_lost_and_healed,
    an_owner_is_told_that_its_key_was_deleted_and_put_again,
    an_owner_is_told_that_its_key_was_taken_and_given_back,
    a_key_taken_while_its_lease_was_lost_is_not_taken_back,
    a_value_changed_under_its_own_lease_is_put_right,
    an_owner_that_takes_no_events_does_not_hold_up_its_registration,
    an_owner_that_has_ended_does_not_end_its_registration,
    a_status_can_be_waited_for,
    a_thousand_registrations_are_kept_and_all_are_healed,
    a_service_that_stops_takes_all_its_registered_keys_away,
);

/// Cases that need a server which can be stopped in its tracks.
mod of_real_etcd {
    use super::*;

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

    #[test]
    fn a_registration_survives_a_restart_of_etcd() {
        House::real(async |house| {
            let registration = register(&house.etcd, 2).await;
            house.real_server().restart();
            a_ttl_passes(house).await;
            let kept = found(house).await.unwrap();
            assert_eq!(kept.lease, Some(registration.lease()));
            assert_eq!(registration.status(), RegistrationStatus::Held);
        });
    }
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

/// Waits until a lease of two seconds that nobody keeps has ended.
async fn a_ttl_passes(house: &House) {
    let mut client = house.outside().await;
    let lease = client.lease_grant(2, None).await.unwrap().id();
    let options = etcd_client::PutOptions::new().with_lease(lease);
    client.put("clock", "", Some(options)).await.unwrap();
    until("the time of the lease is over", async || {
        let answer = client.get("clock", None).await.unwrap();
        answer.kvs().is_empty()
    })
    .await;
}

async fn register(etcd: &Handle<Etcd>, ttl: u64) -> Registration {
    let register = Register::new("r/k", "here", Duration::from_secs(ttl));
    etcd.call(register).await.unwrap().unwrap()
}

async fn found(house: &House) -> Option<KeyValue> {
    house.etcd.call(Get::key("r/k")).await.unwrap().unwrap()
}

async fn a_registered_key_is_there_and_stays_beyond_its_ttl(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    let first = found(house).await.unwrap();
    assert_eq!(first.value, b"here");
    assert_eq!(first.lease, Some(registration.lease()));
    a_ttl_passes(house).await;
    assert_eq!(found(house).await, Some(first));
    assert_eq!(registration.regrants(), 0);
    assert_eq!(registration.key(), "r/k");
}

async fn a_registration_that_is_dropped_takes_its_key_away(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    assert!(found(house).await.is_some());
    drop(registration);
    until("the key is gone", async || found(house).await.is_none()).await;
}

async fn unregister_waits_until_the_key_is_gone(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    assert_eq!(registration.unregister().await, Ok(()));
    assert_eq!(found(house).await, None);
}

async fn a_service_that_stops_takes_its_registered_keys_away(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    assert_eq!(house.etcd.stop().await, ExitReason::Stopped);
    let answer = house.outside().await.get("r/k", None).await.unwrap();
    assert!(answer.kvs().is_empty());
    assert_eq!(registration.unregister().await, Ok(()));
}

async fn a_lease_revoked_by_another_is_granted_again_and_the_key_put_again(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    let lost = registration.lease();
    house.etcd.call(Revoke(lost)).await.unwrap().unwrap();
    until("the key is back", async || found(house).await.is_some()).await;
    assert_eq!(registration.regrants(), 1);
    let back = found(house).await.unwrap();
    assert_eq!(back.lease, Some(registration.lease()));
    assert_ne!(back.lease, Some(lost));
}

async fn a_key_deleted_by_another_is_put_again(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    house.etcd.call(Delete::key("r/k")).await.unwrap().unwrap();
    until("the key is back", async || found(house).await.is_some()).await;
    let back = found(house).await.unwrap();
    assert_eq!(back.lease, Some(registration.lease()));
    assert_eq!(registration.regrants(), 0);
}

async fn a_key_taken_by_another_is_left_to_them(house: &mut House) {
    let first = register(&house.etcd, 2).await;
    let second = register(&house.etcd, 600).await;
    assert_eq!(first.unregister().await, Ok(()));
    let kept = found(house).await.unwrap();
    assert_eq!(kept.lease, Some(second.lease()));
}

async fn a_registration_survives_an_outage_longer_than_its_ttl(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    let mut client = house.outside().await;
    house.proxy.cut();
    until("the lease has ended", async || {
        client.get("r/k", None).await.unwrap().kvs().is_empty()
    })
    .await;
    house.proxy.mend();
    until("the key is back", async || {
        !client.get("r/k", None).await.unwrap().kvs().is_empty()
    })
    .await;
    assert_eq!(registration.regrants(), 1);
}

async fn a_registration_that_cannot_be_made_says_why(house: &mut House) {
    let register = |key, ttl| Register::new(key, "", ttl);
    for wrong in [
        register("", Duration::from_secs(10)),
        register("k", Duration::ZERO),
    ] {
        let made = house.etcd.call(wrong).await.unwrap();
        assert!(matches!(made, Err(EtcdError::Invalid { .. })), "{made:?}");
    }
}

async fn several_keys_come_and_go_together(house: &mut House) {
    let register = Register::new("r/a", "1", Duration::from_secs(600))
        .and("r/b", "2")
        .and("r/c", "");
    let registration = house.etcd.call(register).await.unwrap().unwrap();
    assert_eq!(
        registration.keys().collect::<Vec<_>>(),
        ["r/a", "r/b", "r/c"]
    );
    let mut client = house.outside().await;
    let prefix = Some(etcd_client::GetOptions::new().with_prefix());
    let all = client.get("r/", prefix.clone()).await.unwrap();
    let revision = all.kvs()[0].mod_revision();
    assert_eq!(all.kvs().len(), 3);
    for pair in all.kvs() {
        assert_eq!(pair.lease(), registration.lease().0);
        assert_eq!(pair.mod_revision(), revision, "put in one transaction");
    }
    // One that is deleted is put again, and the others are left alone.
    client.delete("r/b", None).await.unwrap();
    until("the key is back", async || {
        let all = client.get("r/", prefix.clone()).await.unwrap();
        all.kvs().len() == 3
    })
    .await;
    let all = client.get("r/", prefix.clone()).await.unwrap();
    let untouched = all
        .kvs()
        .iter()
        .filter(|pair| pair.mod_revision() == revision);
    assert_eq!(untouched.count(), 2);
    registration.unregister().await.unwrap();
    let all = client.get("r/", prefix).await.unwrap();
    assert!(all.kvs().is_empty());
}

async fn an_owner_is_told_that_it_was_lost_and_healed(house: &mut House) {
    let (owner, mut heard) = owner(house);
    let registration = register_for(house, "r/k", 2, owner).await;
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

async fn a_value_changed_under_its_own_lease_is_put_right(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    let put = Put::new("r/k", "changed").lease(registration.lease());
    house.etcd.call(put).await.unwrap().unwrap();
    until("the value is back", async || {
        found(house).await.unwrap().value == b"here"
    })
    .await;
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

async fn register_many(house: &House, many: usize, ttl: u64) -> Vec<Registration> {
    let ttl = Duration::from_secs(ttl);
    let registering = (0..many).map(|number| async move {
        let register = Register::new(format!("many/{number:04}"), "here", ttl);
        house.etcd.call(register).without_timeout().await.unwrap()
    });
    try_join_all(registering).await.unwrap()
}

async fn count(client: &mut etcd_client::Client) -> i64 {
    let options = etcd_client::GetOptions::new()
        .with_prefix()
        .with_count_only();
    client.get("many/", Some(options)).await.unwrap().count()
}

/// The figures are printed: `--nocapture` shows them.
async fn a_thousand_registrations_are_kept_and_all_are_healed(house: &mut House) {
    const MANY: usize = 1000;
    let mut client = house.outside().await;
    let begun = std::time::Instant::now();
    let registrations = register_many(house, MANY, 6).await;
    let registered = begun.elapsed();
    a_ttl_passes(house).await;
    a_ttl_passes(house).await;
    a_ttl_passes(house).await;
    assert_eq!(count(&mut client).await, 1000);
    let regrants = |all: &[Registration]| all.iter().map(Registration::regrants).sum::<u64>();
    assert_eq!(regrants(&registrations), 0);

    house.proxy.cut();
    until("all leases have ended", async || {
        count(&mut client).await == 0
    })
    .await;
    house.proxy.mend();
    let mended = std::time::Instant::now();
    until("all are back", async || count(&mut client).await == 1000).await;
    let healed = mended.elapsed();
    until("all know it", async || {
        let held = |one: &Registration| one.status() == RegistrationStatus::Held;
        registrations.iter().all(held)
    })
    .await;
    assert_eq!(regrants(&registrations), 1000);

    let begun = std::time::Instant::now();
    drop(registrations);
    until("all are gone", async || count(&mut client).await == 0).await;
    println!(
        "1000 registrations: registered in {registered:?}, healed within {healed:?} of contact, gone in {:?}",
        begun.elapsed()
    );
}

async fn a_service_that_stops_takes_all_its_registered_keys_away(house: &mut House) {
    let registrations = register_many(house, 100, 600).await;
    let mut client = house.outside().await;
    assert_eq!(count(&mut client).await, 100);
    assert_eq!(house.etcd.stop().await, ExitReason::Stopped);
    assert_eq!(count(&mut client).await, 0);
    let ended = registrations.iter().map(Registration::status);
    assert!(
        ended
            .clone()
            .all(|status| status == RegistrationStatus::Ended)
    );
    let gone = join_all(registrations.into_iter().map(Registration::unregister)).await;
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
}
