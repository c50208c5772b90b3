//! A cluster, and a `Million` whose etcd services reach it through the cluster's proxies.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Endpoint, Etcd, EtcdError, Put, Register, Registration};
use million::framework::settings::Document;
use million::framework::{Handle, Million};

use crate::support::cluster::Cluster;
use crate::support::link::Way;

/// Far beyond what anything here takes on a busy machine: only a failure waits for so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The deadline of requests: some elections long.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// One test at a time: each loads the whole machine, and would be a fault to the others.
static TURN: Mutex<()> = Mutex::new(());

/// A healthy cluster to itself, and a `Million`. Fields are dropped in this order.
pub(crate) struct House {
    pub(crate) million: Million,
    pub(crate) cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl House {
    /// A house before a cluster that is healthy.
    pub(crate) fn new() -> Self {
        Self::before(Cluster::start)
    }

    /// A house before a cluster that is made by `make`.
    pub(crate) fn before(make: impl FnOnce() -> Cluster) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            million: Million::builder()
                .workers(2)
                .build()
                .expect("a million can be built"),
            cluster: make(),
            _turn: turn,
        }
    }

    /// An etcd service that knows all members.
    pub(crate) fn etcd(&self) -> Handle<Etcd> {
        self.etcd_of(&self.cluster.endpoints())
    }

    /// An etcd service that knows `endpoints` alone.
    pub(crate) fn etcd_of(&self, endpoints: &[String]) -> Handle<Etcd> {
        self.million.spawn(Etcd::new(settings(endpoints)))
    }

    /// An etcd service that knows all members and is connected to this one.
    pub(crate) fn etcd_at(&self, number: usize) -> Handle<Etcd> {
        let mut endpoints = self.cluster.endpoints();
        endpoints.rotate_left(number);
        let others = (0..self.cluster.size()).filter(|&other| other != number);
        self.etcd_using_first(&endpoints, &others.collect::<Vec<_>>())
    }

    /// An etcd service that knows `endpoints` and is connected to the first, for the doors of `others` are shut while it starts.
    pub(crate) fn etcd_using_first(&self, endpoints: &[String], others: &[usize]) -> Handle<Etcd> {
        for &other in others {
            self.cluster.door(other).hold(Way::ToServer);
        }
        let etcd = self.etcd_of(endpoints);
        let used = self.million.block_on(etcd.call(Endpoint));
        assert_eq!(used.unwrap().as_ref(), Ok(&endpoints[0]));
        for &other in others {
            self.cluster.door(other).mend();
        }
        etcd
    }

    /// Registers a key; once more when an election took the time of the request.
    pub(crate) fn register(&self, etcd: &Handle<Etcd>, key: &str, ttl: Duration) -> Registration {
        let mut registration = None;
        until("the key is registered", || {
            let register = etcd.call(Register::new(key, key, ttl)).timeout(DEADLINE);
            registration = succeeded(self.million.block_on(register).unwrap());
            registration.is_some()
        });
        registration.expect("it was waited for")
    }

    /// Puts a key through a service; once more when an election took the time of the request.
    pub(crate) fn put(&self, etcd: &Handle<Etcd>, key: &str, value: &str) {
        until("a put is acknowledged", || {
            let put = etcd.call(Put::new(key, value)).timeout(DEADLINE);
            succeeded(self.million.block_on(put).unwrap()).is_some()
        });
    }

    /// Puts a key past proxies and services, at this member; once more when an election refused it.
    pub(crate) fn put_raw(&self, member: usize, key: &str, value: &[u8]) {
        until("a member writes", || {
            let mut client = self.cluster.raw(member);
            let (key, value) = (key.to_owned(), value.to_owned());
            let putting = async move { client.put(key, value, None).await.is_ok() };
            self.cluster.wait_for(putting)
        });
    }

    /// Ends everything, and sees that nothing had to be dropped.
    pub(crate) fn end(self) {
        let report = self.million.blocking_shutdown(DEADLINE);
        assert!(report.is_clean(), "{report:?}");
    }
}

/// Settings for these endpoints.
pub(crate) fn settings(endpoints: &[String]) -> EtcdSettings {
    let endpoints = endpoints.join(",");
    let timeout = REQUEST_TIMEOUT.as_millis();
    let text = format!(
        "etcd: {{ endpoints: '{endpoints}', request_timeout: {timeout}, heartbeat_check_interval_ms: 500 }}"
    );
    let document = Document::parse(text, "a test").unwrap();
    EtcdSettings::from_document(&document).unwrap()
}

/// What was answered, unless there was no answer in time, or none that tells.
fn succeeded<T>(answer: Result<T, EtcdError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) if error.is_retryable() => None,
        Err(EtcdError::OutcomeUnknown { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until a condition holds, looking again and again, for at most `limit`. Returns whether it does.
pub(crate) fn holds_within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, holds), "waited in vain for: {what}");
}
