//! Leases are kept alive while one member of three fails, wherever it stands in the list.

use std::time::{Duration, Instant};

use crate::house::{House, holds_within, until};

/// Short enough that it would be over if one endpoint that answers nothing got all the time that connecting may take.
const TTL: Duration = Duration::from_secs(5);

/// The stream goes over a follower, which has nobody to renew leases with, and the endpoint after that is the leader that stands still.
#[test]
fn a_leader_that_stands_still_costs_no_lease_also_when_it_is_the_next_to_be_tried() {
    let mut house = House::new();
    let leader = house.cluster.wait_until_healthy();
    let before = (leader + house.cluster.size() - 1) % house.cluster.size();
    let etcd = house.etcd_at(before);
    let registrations: Vec<_> = (0..5)
        .map(|number| house.register(&etcd, &format!("registered/{number}"), TTL))
        .collect();
    let kept = Instant::now();
    until("all are kept alive over the stream", || {
        kept.elapsed() > TTL
    });
    house.cluster.pause(leader);
    let regrants = || registrations.iter().map(|one| one.regrants()).sum::<u64>();
    assert!(!holds_within(TTL * 2, || regrants() > 0), "{}", regrants());
    house.cluster.resume(leader);
    house.cluster.wait_until_healthy();
    assert_eq!(regrants(), 0);
    drop(registrations);
    house.end();
}
