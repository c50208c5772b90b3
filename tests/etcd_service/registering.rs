//! A registration holds its key there, and takes it away when it is let go.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use million::etcd_service::{
    Delete, Etcd, EtcdError, Get, KeyValue, Put, Register, Registration, RegistrationStatus, Revoke,
};
use million::framework::{ExitReason, Handle};

use crate::house::{DEADLINE, House, settings, until};

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
    a_registration_dropped_while_etcd_is_away_is_gone_as_soon_as_it_is_back,
    several_keys_come_and_go_together,
    a_value_changed_under_its_own_lease_is_put_right,
    a_thousand_registrations_are_kept_and_all_are_healed,
    a_service_that_stops_takes_all_its_registered_keys_away,
);

/// Cases that need a server which can be stopped in its tracks.
mod of_real_etcd {
    use super::*;

    #[test]
    fn a_registration_survives_a_restart_of_etcd() {
        House::real(async |house| {
            let registration = register(&house.etcd, 2).await;
            house.real_server().restart();
            a_ttl_passes(house).await;
            // A machine that took longer than the lease lives has lost and healed it meanwhile.
            until("it is held", async || {
                let kept = found(house)
                    .await
                    .is_some_and(|kept| kept.lease == Some(registration.lease()));
                kept && registration.status() == RegistrationStatus::Held
            })
            .await;
        });
    }
}

/// Waits until a lease of two seconds that nobody keeps has ended.
pub(crate) async fn a_ttl_passes(house: &House) {
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

pub(crate) async fn register(etcd: &Handle<Etcd>, ttl: u64) -> Registration {
    let register = Register::new("r/k", "here", Duration::from_secs(ttl));
    etcd.call(register).await.unwrap().unwrap()
}

pub(crate) async fn found(house: &House) -> Option<KeyValue> {
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

async fn a_registration_dropped_while_etcd_is_away_is_gone_as_soon_as_it_is_back(
    house: &mut House,
) {
    let mut client = house.outside().await;
    let text = format!(
        "endpoints: '{}', request_timeout: 300",
        house.proxy.endpoint()
    );
    let etcd = house.million.spawn(Etcd::new(settings(&text)));
    // Told or not: one waits for what becomes of it, one does not.
    let waited = register(&etcd, 600).await;
    let dropped = Register::new("r/dropped", "here", Duration::from_secs(600));
    let dropped = etcd.call(dropped).await.unwrap().unwrap();
    house.proxy.half_open();
    drop(dropped);
    let told = tokio::time::timeout(DEADLINE, waited.unregister()).await;
    let told = told.expect("it does not wait until etcd is back");
    assert!(told.is_err(), "{told:?}");
    let there = client.get("r/k", None).await.unwrap();
    assert_eq!(there.kvs().len(), 1);
    house.proxy.mend();
    until("both keys are gone", async || {
        let prefix = etcd_client::GetOptions::new().with_prefix();
        client
            .get("r/", Some(prefix))
            .await
            .unwrap()
            .kvs()
            .is_empty()
    })
    .await;
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

async fn a_value_changed_under_its_own_lease_is_put_right(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    let put = Put::new("r/k", "changed").lease(registration.lease());
    house.etcd.call(put).await.unwrap().unwrap();
    until("the value is back", async || {
        found(house).await.unwrap().value == b"here"
    })
    .await;
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
