//! Clients that read, write, delete and swap the same few keys at the same time, and write down what they were answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use million::etcd_service::{CompareAndSwap, Delete, Etcd, EtcdError, Get, Put, Swap};
use million::framework::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::history::{Action, Operation, Recorder, Reply, Value};
use crate::house::House;

/// Keys that are in use at a time: few, so that clients meet.
const KEYS: u32 = 5;

/// The longest pause between two operations of a client: it makes a few hundred operations a key and fault.
const PAUSE: Duration = Duration::from_millis(15);

/// What the clients share.
struct Shared {
    recorder: Recorder,
    round: AtomicU32,
    last_value: AtomicU64,
    known: AtomicU64,
    end: CancellationToken,
}

/// Clients at work, until they are ended.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Sets so many clients to work for each of `etcds`.
    pub(crate) fn start(house: &House, etcds: &[Handle<Etcd>], clients: usize) -> Self {
        let shared = Arc::new(Shared {
            recorder: Recorder::default(),
            round: AtomicU32::new(0),
            last_value: AtomicU64::new(0),
            known: AtomicU64::new(0),
            end: CancellationToken::new(),
        });
        let services = house.million.services();
        let tasks = etcds
            .iter()
            .cycle()
            .take(clients * etcds.len())
            .map(|etcd| {
                let (shared, etcd) = (Arc::clone(&shared), etcd.clone());
                services.io_runtime().spawn(work(shared, etcd))
            });
        Self {
            tasks: tasks.collect(),
            shared,
        }
    }

    /// Goes on with fresh keys, so that no key's history grows too long to judge.
    pub(crate) fn next_round(&self) {
        self.shared.round.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers have come that were no errors.
    pub(crate) fn answers(&self) -> u64 {
        self.shared.known.load(Ordering::Relaxed)
    }

    /// Ends them when each has its last answer, and tells what they wrote down.
    pub(crate) fn end(self, house: &House) -> Vec<Operation> {
        self.shared.end.cancel();
        for task in self.tasks {
            house
                .million
                .block_on(task)
                .expect("a client does not panic");
        }
        self.shared.recorder.operations()
    }
}

async fn work(shared: Arc<Shared>, etcd: Handle<Etcd>) {
    let mut last_seen: Option<(u32, Option<Value>)> = None;
    while !shared.end.is_cancelled() {
        let round = shared.round.load(Ordering::Relaxed);
        let key = round * KEYS + rand::random_range(0..KEYS);
        let new = shared.last_value.fetch_add(1, Ordering::Relaxed);
        let action = match rand::random_range(0..100) {
            0..40 => Action::Get,
            40..60 => Action::Put(new),
            60..68 => Action::Delete,
            _ => Action::Swap {
                // What this client saw last, so that about every other swap is done.
                expected: last_seen
                    .filter(|seen| seen.0 == key)
                    .and_then(|seen| seen.1),
                new,
            },
        };
        let called = shared.recorder.now();
        if let Some(reply) = ask(&etcd, &format!("key/{key}"), action).await {
            shared.recorder.note(key, action, called, reply);
            last_seen = match (action, reply) {
                (_, Reply::Found(found)) => Some((key, found)),
                (
                    Action::Put(value) | Action::Swap { new: value, .. },
                    Reply::Written | Reply::Swapped,
                ) => Some((key, Some(value))),
                _ => last_seen,
            };
            if reply != Reply::Unknown {
                shared.known.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.0..1.0))).await;
    }
}

/// Asks, and tells the answer; `None` if certainly nothing was done.
async fn ask(etcd: &Handle<Etcd>, key: &str, action: Action) -> Option<Reply> {
    let reply = match action {
        Action::Get => {
            let found = etcd.call(Get::key(key)).without_timeout().await;
            let found = found.expect("the service lives");
            found.map(|pair| Reply::Found(pair.map(|pair| number(&pair.value))))
        }
        Action::Put(value) => {
            let put = Put::new(key, value.to_string());
            let written = etcd.call(put).without_timeout().await;
            written.expect("the service lives").map(|_| Reply::Written)
        }
        Action::Delete => {
            let deleted = etcd.call(Delete::key(key)).without_timeout().await;
            let deleted = deleted.expect("the service lives");
            deleted.map(|deleted| Reply::Deleted(deleted.count > 0))
        }
        Action::Swap { expected, new } => {
            let key = CompareAndSwap::key(key);
            let expecting = match expected {
                None => key.expect_absent(),
                Some(value) => key.expect_value(value.to_string()),
            };
            let swap = expecting.put(new.to_string());
            let swapped = etcd.call(swap).without_timeout().await;
            swapped.expect("the service lives").map(|swap| match swap {
                Swap::Done { .. } => Reply::Swapped,
                Swap::Mismatch { present, .. } => {
                    Reply::Found(present.map(|pair| number(&pair.value)))
                }
            })
        }
    };
    match reply {
        Ok(reply) => Some(reply),
        Err(EtcdError::OutcomeUnknown { .. }) => Some(Reply::Unknown),
        Err(_) => None,
    }
}

/// The number that a value is.
pub(crate) fn number(value: &[u8]) -> Value {
    let text = std::str::from_utf8(value).expect("values are numbers");
    text.parse().expect("values are numbers")
}
