//! The service registry: registered by name, found by name and tag.

use std::time::Duration;

use million::etcd_service::{
    Discovery, EtcdError, Get, LeaseId, NodeDown, NodeUp, Put, Revoke, ServiceDiscover,
    ServiceEndpoint, ServiceHeartbeat, ServiceRegister, ServiceUnregister, Subscriber,
    Synchronized, service_prefix,
};
use million::framework::{Cx, Handler, Service};
use tokio::sync::mpsc;

use crate::house::{Heard, House, until};

on_both!(
    a_registered_service_is_found_by_its_name_and_its_tags,
    the_record_is_that_of_gos_naming_package,
    a_service_is_unregistered_by_its_lease_also_by_one_that_was_lost,
    a_detached_registration_lives_until_it_is_unregistered,
    a_heartbeat_tells_the_time_left_and_mends_what_was_lost,
    an_unknown_lease_is_not_found,
    records_of_others_are_found_and_broken_ones_skipped,
    discovery_tells_nodes_of_a_tag_alone,
    a_name_a_tag_or_an_address_that_is_none_is_refused,
);

fn shop(port: u16) -> ServiceRegister {
    ServiceRegister::new("shop", "10.0.0.7", port)
}

async fn find(house: &House, discover: ServiceDiscover) -> Vec<ServiceEndpoint> {
    house.etcd.call(discover).await.unwrap().unwrap()
}

async fn a_registered_service_is_found_by_its_name_and_its_tags(house: &mut House) {
    let first = shop(1).tags(["fresh", "local"]).metadata("zone", "b");
    let first = house.etcd.call(first).await.unwrap().unwrap();
    let second = shop(2).tags(["fresh"]);
    let _second = house.etcd.call(second).await.unwrap().unwrap();
    let other = ServiceRegister::new("shopping", "10.0.0.8", 3);
    let _other = house.etcd.call(other).await.unwrap().unwrap();

    let all = find(house, ServiceDiscover::name("shop")).await;
    let addresses: Vec<&str> = all.iter().map(|found| found.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.7:1", "10.0.0.7:2"]);
    assert_eq!(all[0].tags, ["fresh", "local"]);
    assert_eq!(all[0].metadata["zone"], "b");
    assert_eq!(all[0].lease, Some(first.lease()));
    assert_eq!(all[0].key, first.key());
    let fresh = find(house, ServiceDiscover::name("shop").tag("fresh")).await;
    assert_eq!(fresh, all);
    let both = ServiceDiscover::name("shop").tag("fresh").tag("local");
    assert_eq!(find(house, both).await, all[..1]);
    assert_eq!(find(house, ServiceDiscover::name("none")).await, []);
}

async fn the_record_is_that_of_gos_naming_package(house: &mut House) {
    let service = shop(1).tags(["fresh", "local"]);
    let _shop = house.etcd.call(service).await.unwrap().unwrap();
    let six = ServiceRegister::new("shop", "::1", 2);
    let _six = house.etcd.call(six).await.unwrap().unwrap();
    let value = async |key: &str| {
        let found = house.etcd.call(Get::key(key)).await.unwrap().unwrap();
        String::from_utf8(found.unwrap().value).unwrap()
    };
    assert_eq!(
        value("/services/shop/10.0.0.7:1").await,
        r#"{"Op":0,"Addr":"10.0.0.7:1","Metadata":{"tags":"fresh,local"}}"#
    );
    assert_eq!(
        value("/services/shop/[::1]:2").await,
        r#"{"Op":0,"Addr":"[::1]:2","Metadata":null}"#
    );
}

async fn a_service_is_unregistered_by_its_lease_also_by_one_that_was_lost(house: &mut House) {
    let registration = house.etcd.call(shop(1)).await.unwrap().unwrap();
    let lease = registration.lease();
    house.etcd.call(Revoke(lease)).await.unwrap().unwrap();
    let beat = house.etcd.call(ServiceHeartbeat { lease }).await.unwrap();
    assert!(beat.is_ok(), "{beat:?}");
    assert_ne!(registration.lease(), lease);
    let unregister = ServiceUnregister { lease };
    assert_eq!(house.etcd.call(unregister).await, Ok(Ok(())));
    assert_eq!(find(house, ServiceDiscover::name("shop")).await, []);
    let again = house.etcd.call(unregister).await.unwrap();
    assert!(
        matches!(again, Err(EtcdError::NotFound { .. })),
        "{again:?}"
    );
}

async fn a_detached_registration_lives_until_it_is_unregistered(house: &mut House) {
    let service = shop(1).ttl(Duration::from_secs(2));
    let lease = house.etcd.call(service).await.unwrap().unwrap().detach();
    // A key under a lease that nobody keeps tells when the time is over.
    let ttl = Duration::from_secs(2);
    let clock = million::etcd_service::Grant { ttl };
    let clock = house.etcd.call(clock).await.unwrap().unwrap();
    let put = Put::new("clock", "").lease(clock.id);
    house.etcd.call(put).await.unwrap().unwrap();
    until("the time of the lease is over", async || {
        let clock = house.etcd.call(Get::key("clock")).await.unwrap().unwrap();
        clock.is_none()
    })
    .await;
    let found = find(house, ServiceDiscover::name("shop")).await;
    assert_eq!(found[0].lease, Some(lease));
    let unregister = ServiceUnregister { lease };
    assert_eq!(house.etcd.call(unregister).await, Ok(Ok(())));
    assert_eq!(find(house, ServiceDiscover::name("shop")).await, []);
}

async fn a_heartbeat_tells_the_time_left_and_mends_what_was_lost(house: &mut House) {
    let ttl = Duration::from_secs(600);
    let registration = house.etcd.call(shop(1).ttl(ttl)).await.unwrap().unwrap();
    let lease = registration.lease();
    let beat = ServiceHeartbeat { lease };
    assert_eq!(house.etcd.call(beat).await, Ok(Ok(ttl)));
    // Without the heartbeat this would be noticed when a third of the ten minutes is over.
    house.etcd.call(Revoke(lease)).await.unwrap().unwrap();
    assert_eq!(house.etcd.call(beat).await, Ok(Ok(ttl)));
    let found = find(house, ServiceDiscover::name("shop")).await;
    assert_eq!(found[0].lease, Some(registration.lease()));
}

async fn an_unknown_lease_is_not_found(house: &mut House) {
    let lease = LeaseId(1);
    let beat = house.etcd.call(ServiceHeartbeat { lease }).await.unwrap();
    assert!(matches!(beat, Err(EtcdError::NotFound { .. })), "{beat:?}");
    let gone = house.etcd.call(ServiceUnregister { lease }).await.unwrap();
    assert!(matches!(gone, Err(EtcdError::NotFound { .. })), "{gone:?}");
}

async fn records_of_others_are_found_and_broken_ones_skipped(house: &mut House) {
    for (key, value) in [
        ("a", "10.0.0.1:1"),
        ("b", "nonsense"),
        (
            "c",
            r#"{"Addr":"10.0.0.3:3","Metadata":{"tags":["x","y"]}}"#,
        ),
    ] {
        let put = Put::new(format!("/services/shop/{key}"), value);
        house.etcd.call(put).await.unwrap().unwrap();
    }
    let found = find(house, ServiceDiscover::name("shop")).await;
    let addresses: Vec<&str> = found.iter().map(|found| found.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.3:3"]);
    assert_eq!(found[1].tags, ["x", "y"]);
    assert_eq!(found[1].lease, None);
}

/// Tells which addresses come and go.
struct Lookout(mpsc::UnboundedSender<String>);
impl Service for Lookout {}
impl Handler<NodeUp> for Lookout {
    async fn handle(cx: &Cx<Self>, NodeUp(node): NodeUp) {
        let _ = cx.state().0.send(format!("+{}", node.address));
    }
}
impl Handler<NodeDown> for Lookout {
    async fn handle(cx: &Cx<Self>, NodeDown(node): NodeDown) {
        let _ = cx.state().0.send(format!("-{}", node.address));
    }
}
impl Handler<Synchronized> for Lookout {
    async fn handle(cx: &Cx<Self>, _: Synchronized) {
        let _ = cx.state().0.send("all".to_owned());
    }
}

async fn discovery_tells_nodes_of_a_tag_alone(house: &mut House) {
    let _fresh = house
        .etcd
        .call(shop(1).tags(["fresh"]))
        .await
        .unwrap()
        .unwrap();
    let _stale = house
        .etcd
        .call(shop(2).tags(["stale"]))
        .await
        .unwrap()
        .unwrap();
    let (told, heard) = mpsc::unbounded_channel();
    let mut heard = Heard(heard);
    let lookout = house.million.spawn(Lookout(told));
    let subscriber = Subscriber::of(&lookout);
    let discovery = Discovery::new(house.etcd.clone(), service_prefix("shop"), subscriber);
    let _discovery = house.million.spawn(discovery.with_tag("fresh"));
    assert_eq!(heard.next().await, "+10.0.0.7:1");
    assert_eq!(heard.next().await, "all");
    let third = house.etcd.call(shop(3).tags(["new", "fresh"])).await;
    assert_eq!(heard.next().await, "+10.0.0.7:3");
    // The same instance without the tag.
    let _third = house.etcd.call(shop(3).tags(["new"])).await;
    assert_eq!(heard.next().await, "-10.0.0.7:3");
    drop(third);
}

async fn a_name_a_tag_or_an_address_that_is_none_is_refused(house: &mut House) {
    for wrong in [
        ServiceRegister::new("", "host", 1),
        ServiceRegister::new("a/b", "host", 1),
        ServiceRegister::new("shop", "", 1),
        ServiceRegister::new("shop", "two words", 1),
        ServiceRegister::new("shop", "host", 1).tags(["a,b"]),
        ServiceRegister::new("shop", "host", 1).tags([""]),
    ] {
        let made = house.etcd.call(wrong).await.unwrap();
        assert!(matches!(made, Err(EtcdError::Invalid { .. })), "{made:?}");
    }
    let found = house.etcd.call(ServiceDiscover::name("a/b")).await.unwrap();
    assert!(matches!(found, Err(EtcdError::Invalid { .. })), "{found:?}");
}
