//! A steady stream of puts through etcd services, each of which is known by its value.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use million::etcd_service::{Etcd, EtcdError, Put};
use million::framework::{Handle, Million};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::truth::Change;

/// Between two bursts. Finer, and a busy machine does nothing but wake up.
const PERIOD: Duration = Duration::from_millis(20);

/// Puts on their way at a time, four seconds' worth at 500 a second: more than pile up in an election. What would be more is not sent, and counted.
const MOST_WAITING: usize = 2000;

/// Groups of keys, and keys in each.
const GROUPS: u64 = 10;
const KEYS: u64 = 50;

/// What became of a put.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Written, at this revision.
    Written(i64),
    /// The error says that nothing was written, and this.
    Refused(String),
    /// The error says that nobody knows, for this reason.
    Unknown(String),
}

/// A put, and what became of it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) value: Vec<u8>,
    pub(crate) outcome: Outcome,
    pub(crate) answered: Instant,
}

/// All puts of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sent: Vec<Sent>,
    /// Puts that were due and not sent, for too many waited.
    pub(crate) left_out: u64,
    pub(crate) took: Duration,
}

/// Puts that go on until they are ended.
pub(crate) struct Load {
    end: CancellationToken,
    task: JoinHandle<Report>,
}

impl Load {
    /// Begins `rate` puts a second, through each of `etcds` in turn.
    pub(crate) fn start(million: &Million, etcds: Vec<Handle<Etcd>>, rate: u64) -> Self {
        let end = CancellationToken::new();
        let putting = put_steadily(etcds, rate, end.clone());
        Self {
            end,
            task: million.services().io_runtime().spawn(putting),
        }
    }

    /// Sends no more, waits for what is on its way, and tells what became of all.
    pub(crate) fn end(self, million: &Million) -> Report {
        self.end.cancel();
        million.block_on(self.task).expect("it does not panic")
    }
}

async fn put_steadily(etcds: Vec<Handle<Etcd>>, rate: u64, end: CancellationToken) -> Report {
    let begun = Instant::now();
    let burst = rate * u64::try_from(PERIOD.as_millis()).expect("it is short") / 1000;
    let room = Arc::new(Semaphore::new(MOST_WAITING));
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut puts = JoinSet::new();
    let mut report = Report::default();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            _ = ticks.tick() => {}
        }
        for _ in 0..burst {
            number += 1;
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                report.left_out += 1;
                continue;
            };
            let etcd = etcds[number as usize % etcds.len()].clone();
            puts.spawn(async move {
                let _place = place;
                put(&etcd, number).await
            });
        }
        while let Some(sent) = puts.try_join_next() {
            report.sent.push(sent.expect("a put does not panic"));
        }
    }
    report.took = begun.elapsed();
    report.sent.extend(puts.join_all().await);
    report
}

async fn put(etcd: &Handle<Etcd>, number: u64) -> Sent {
    let key = format!("load/{}/{}", number % GROUPS, number / GROUPS % KEYS);
    let value = number.to_string().into_bytes();
    let reply = etcd
        .call(Put::new(key, value.clone()))
        .without_timeout()
        .await;
    Sent {
        value,
        outcome: match reply.expect("the service lives") {
            Ok(revision) => Outcome::Written(revision),
            Err(EtcdError::OutcomeUnknown { reason, .. }) => Outcome::Unknown(reason),
            Err(error) => Outcome::Refused(error.to_string()),
        },
        answered: Instant::now(),
    }
}

impl Report {
    pub(crate) fn written(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Written(_)))
    }

    pub(crate) fn refused(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Refused(_)))
    }

    pub(crate) fn unknown(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Unknown(_)))
    }

    fn count(&self, what: impl Fn(&Outcome) -> bool) -> usize {
        self.sent.iter().filter(|sent| what(&sent.outcome)).count()
    }

    /// Why puts were not acknowledged, and how many for each reason.
    pub(crate) fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for sent in &self.sent {
            if let Outcome::Refused(reason) | Outcome::Unknown(reason) = &sent.outcome {
                *reasons.entry(reason.as_str()).or_default() += 1;
            }
        }
        reasons
    }

    /// Compares what callers were told with what happened: what was acknowledged is there at its revision, what was refused is
    /// not, and nothing is there twice.
    pub(crate) fn compare(&self, happened: &[Change]) -> Broken {
        let mut revisions: HashMap<&[u8], Vec<i64>> = HashMap::new();
        for change in happened
            .iter()
            .filter(|change| change.key.starts_with(b"load/"))
        {
            revisions
                .entry(&change.value)
                .or_default()
                .push(change.mod_revision);
        }
        let mut broken = Broken::default();
        for sent in &self.sent {
            let found = revisions
                .get(sent.value.as_slice())
                .map_or(&[][..], Vec::as_slice);
            broken.written_twice += usize::from(found.len() > 1);
            match &sent.outcome {
                Outcome::Written(at) => {
                    broken.acknowledged_and_lost += usize::from(!found.contains(at))
                }
                Outcome::Refused(_) => broken.refused_and_written += usize::from(!found.is_empty()),
                Outcome::Unknown(_) => {}
            }
        }
        broken
    }
}

/// Promises to those who put that were broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) acknowledged_and_lost: usize,
    pub(crate) refused_and_written: usize,
    pub(crate) written_twice: usize,
}
