//! Leases that are kept alive, the heartbeat check, and a process that stood still.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use million::etcd_service::{
    CheckHeartbeats, Delete, Etcd, EtcdError, Get, HeartbeatReport, KeepLease, KeptLease, Put,
    Register, RegistrationStatus, Revoke,
};
use million::framework::{ExitReason, Million};

use crate::house::{DEADLINE, House, settings, until};

on_both!(
    a_kept_lease_outlives_its_ttl_and_ends_when_it_is_dropped,
    revoking_a_kept_lease_waits_until_its_keys_are_gone,
    a_kept_lease_that_someone_revoked_is_told_lost,
    a_kept_lease_is_lost_when_nothing_is_heard_of_etcd_for_its_ttl,
    a_lease_that_cannot_be_granted_says_why,
    a_service_that_stops_revokes_its_kept_leases,
    the_heartbeat_check_counts_leases_and_keys_and_names_what_is_astray,
    the_heartbeat_check_reports_leases_near_their_end,
    a_process_that_stood_still_beyond_its_ttl_is_healed_on_contact,
);

async fn keep(house: &House, ttl: u64) -> KeptLease {
    let keep = KeepLease {
        ttl: Duration::from_secs(ttl),
    };
    let lease = house.etcd.call(keep).await.unwrap().unwrap();
    let put = Put::new("kept", "").lease(lease.id());
    house.etcd.call(put).await.unwrap().unwrap();
    lease
}

/// Waits until a lease is told lost.
async fn lost(lease: &KeptLease) {
    let lost = tokio::time::timeout(DEADLINE, lease.lost()).await;
    assert!(lost.is_ok(), "a lost lease is told");
}

async fn is_there(client: &mut etcd_client::Client, key: &str) -> bool {
    !client.get(key, None).await.unwrap().kvs().is_empty()
}

async fn a_ttl_passes(client: &mut etcd_client::Client) {
    let lease = client.lease_grant(2, None).await.unwrap().id();
    let options = etcd_client::PutOptions::new().with_lease(lease);
    client.put("clock", "", Some(options)).await.unwrap();
    until("the time of the lease is over", async || {
        !is_there(client, "clock").await
    })
    .await;
}

async fn a_kept_lease_outlives_its_ttl_and_ends_when_it_is_dropped(house: &mut House) {
    let mut client = house.outside().await;
    let lease = keep(house, 2).await;
    assert_eq!(lease.ttl(), Duration::from_secs(2));
    a_ttl_passes(&mut client).await;
    a_ttl_passes(&mut client).await;
    assert!(is_there(&mut client, "kept").await);
    assert!(!lease.is_lost());
    drop(lease);
    until("its key is gone", async || {
        !is_there(&mut client, "kept").await
    })
    .await;
}

async fn revoking_a_kept_lease_waits_until_its_keys_are_gone(house: &mut House) {
    let lease = keep(house, 600).await;
    assert_eq!(lease.revoke().await, Ok(()));
    assert_eq!(house.etcd.call(Get::key("kept")).await, Ok(Ok(None)));
}

async fn a_kept_lease_that_someone_revoked_is_told_lost(house: &mut House) {
    let lease = keep(house, 2).await;
    // Long enough for the stream that keeps it alive to be there.
    a_ttl_passes(&mut house.outside().await).await;
    assert!(!lease.is_lost());
    house.etcd.call(Revoke(lease.id())).await.unwrap().unwrap();
    lost(&lease).await;
    assert!(lease.is_lost());
    assert_eq!(lease.revoke().await, Ok(()));
}

async fn a_kept_lease_is_lost_when_nothing_is_heard_of_etcd_for_its_ttl(house: &mut House) {
    let mut client = house.outside().await;
    let lease = keep(house, 2).await;
    house.proxy.cut();
    lost(&lease).await;
    house.proxy.mend();
    // It is never had again: what etcd may still have of it is taken away.
    until("its key is gone", async || {
        !is_there(&mut client, "kept").await
    })
    .await;
    assert!(lease.is_lost());
}

async fn a_lease_that_cannot_be_granted_says_why(house: &mut House) {
    let keep = KeepLease {
        ttl: Duration::ZERO,
    };
    let made = house.etcd.call(keep).await.unwrap();
    assert!(matches!(made, Err(EtcdError::Invalid { .. })), "{made:?}");
}

async fn a_service_that_stops_revokes_its_kept_leases(house: &mut House) {
    let mut client = house.outside().await;
    let lease = keep(house, 600).await;
    assert_eq!(house.etcd.stop().await, ExitReason::Stopped);
    assert!(!is_there(&mut client, "kept").await);
    lost(&lease).await;
}

async fn check(house: &House) -> HeartbeatReport {
    house.etcd.call(CheckHeartbeats).await.unwrap().unwrap()
}

async fn the_heartbeat_check_counts_leases_and_keys_and_names_what_is_astray(house: &mut House) {
    // A service of its own, which does not look by itself within this test.
    let endpoint = house.server.endpoint();
    let etcd = settings(&format!(
        "endpoints: '{endpoint}', heartbeat_check_interval_ms: 3600000"
    ));
    house.etcd = house.million.spawn(Etcd::new(etcd));
    assert_eq!(check(house).await, HeartbeatReport::default());
    let ttl = Duration::from_secs(600);
    let one = Register::new("r/a", "", ttl).and("r/b", "");
    let _one = house.etcd.call(one).await.unwrap().unwrap();
    let two = Register::new("r/c", "", ttl);
    let _two = house.etcd.call(two).await.unwrap().unwrap();
    let _kept = keep(house, 600).await;
    let well = HeartbeatReport {
        leases: 3,
        keys: 3,
        ..HeartbeatReport::default()
    };
    assert_eq!(check(house).await, well);
    house.etcd.call(Delete::key("r/b")).await.unwrap().unwrap();
    assert_eq!(check(house).await.astray, ["r/b"]);
    until("it is put right", async || check(house).await == well).await;
    let found = house.etcd.call(Get::key("r/b")).await.unwrap().unwrap();
    assert!(found.is_some());
}

async fn the_heartbeat_check_reports_leases_near_their_end(house: &mut House) {
    let text = format!(
        "endpoints: '{}', request_timeout: 300",
        house.proxy.endpoint()
    );
    house.etcd = house.million.spawn(Etcd::new(settings(&text)));
    let register = Register::new("r/k", "", Duration::from_secs(2));
    let registration = house.etcd.call(register).await.unwrap().unwrap();
    house.proxy.cut();
    // From then on, without etcd, it is near its end or past it.
    until("the lease is near its end", async || {
        registration.status() == RegistrationStatus::NearExpiry
    })
    .await;
    let report = check(house).await;
    let [(lease, left)] = report.near_expiry[..] else {
        panic!("the lease is named: {report:?}");
    };
    assert_eq!(lease, registration.lease());
    assert!(left < Duration::from_secs(1), "{left:?}");
    assert_eq!((report.leases, report.keys, report.unseen), (1, 0, 1));
    assert!(report.failure.is_some_and(|error| error.is_retryable()));
    house.proxy.mend();
    until("all is well again", async || {
        let report = check(house).await;
        report.near_expiry.is_empty() && (report.keys, report.unseen) == (1, 0)
    })
    .await;
}

/// Where the child finds etcd.
const ENDPOINT: &str = "MILLION_TEST_ENDPOINT";

/// The other half of the test below: a process that holds a registration until its input ends.
#[test]
#[ignore = "run in a process of its own by a_process_that_stood_still_beyond_its_ttl_is_healed_on_contact"]
fn holds_a_registration_until_its_input_ends() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        return;
    };
    let million = Million::builder().workers(1).build().unwrap();
    let etcd = million.spawn(Etcd::new(settings(&format!("endpoints: '{endpoint}'"))));
    let register = Register::new("child", "here", Duration::from_secs(2));
    let registration = etcd.blocking_call(register).unwrap().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(registration);
}

/// A child process, which ends with this.
struct Process(Child);

impl Process {
    fn start(endpoint: &str) -> Self {
        let itself = std::env::current_exe().unwrap();
        let child = Command::new(itself)
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("keeping::holds_a_registration_until_its_input_ends")
            .env(ENDPOINT, endpoint)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status()
            .expect("the kill command is there");
        assert!(status.success(), "kill {signal} failed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A panic here would hide the failure that the test is about.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The figures are printed: `--nocapture` shows them.
async fn a_process_that_stood_still_beyond_its_ttl_is_healed_on_contact(house: &mut House) {
    const ROUNDS: usize = 5;
    let mut client = house.outside().await;
    let process = Process::start(&house.server.endpoint());
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        until("it is registered", async || {
            is_there(&mut client, "child").await
        })
        .await;
        process.signal("-STOP");
        until("its lease has ended", async || {
            !is_there(&mut client, "child").await
        })
        .await;
        let contact = Instant::now();
        process.signal("-CONT");
        while !is_there(&mut client, "child").await {
            assert!(contact.elapsed() < DEADLINE);
        }
        times.push(contact.elapsed());
    }
    times.sort();
    println!("healed after SIGCONT within {times:?}");
    // The half of them: a machine that is busy with other tests may hold up the rest.
    assert!(times[ROUNDS / 2] < Duration::from_secs(1), "{times:?}");
}
