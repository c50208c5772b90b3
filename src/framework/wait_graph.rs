//! Who waits for whom, among services that handle one message at a time: the graph in which [`call_cycle`](super::call_cycle) looks for circles.
//!
//! It is divided into shards, each under a lock of its own, by who waits. A wait is put in and its circle looked for shard by shard; only if
//! one seems to be there, it is looked for again under all locks, so that what is found was there at one time.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::MutexGuard;

use super::state::Running;
use super::sync::Mutex;

/// So many that workers seldom meet at a lock.
const SHARDS: usize = 64;

/// A service that handles one message at a time.
#[derive(Clone, Copy)]
pub(crate) struct Exclusive {
    pub(crate) key: NonZeroUsize,
    pub(crate) name: fn() -> &'static str,
    pub(crate) id: u64,
}

impl Exclusive {
    pub(crate) fn of(running: Running) -> Option<Self> {
        Some(Self {
            key: NonZeroUsize::new(running.key.addr())?,
            name: running.name,
            id: running.id,
        })
    }
}

/// Who waits for whom.
pub(crate) struct WaitGraph {
    shards: [Shard; SHARDS],
}

/// On cache lines of its own.
#[repr(align(128))]
struct Shard {
    /// How many services wait. Written under the lock, read without: a service that begins to wait is counted before it looks
    /// whether others do, so of two that meet one sees the other.
    waiting: AtomicUsize,
    edges: Mutex<Edges>,
}

struct Edges {
    of: HashMap<NonZeroUsize, Waits, BuildHasherDefault<ByAddress>>,
    next: u64,
}

/// What one service waits for: mostly one call.
struct Waits {
    first: Edge,
    more: Vec<Edge>,
}

#[derive(Clone, Copy)]
struct Edge {
    number: u64,
    to: Exclusive,
}

impl WaitGraph {
    pub(crate) const fn new() -> Self {
        Self {
            shards: [const {
                Shard {
                    waiting: AtomicUsize::new(0),
                    edges: Mutex::new(Edges {
                        of: HashMap::with_hasher(BuildHasherDefault::new()),
                        next: 0,
                    }),
                }
            }; SHARDS],
        }
    }

    /// `from` waits for `to` from now on. An error is the circle that this would close, beginning with `from`.
    pub(crate) fn put(&self, from: Exclusive, to: Exclusive) -> Result<u64, Vec<Exclusive>> {
        if from.key == to.key {
            return Err(vec![from]);
        }
        let number = self.shard(from.key).put(from.key, to);
        if !self.shard(to.key).someone_waits() {
            return Ok(number);
        }
        let seen = path(to, from.key, |key, found| {
            self.shard(key).edges.lock().each(key, found);
        });
        if seen.is_none() {
            return Ok(number);
        }
        // What was seen piece by piece may never have been there at one time.
        let mut all: Vec<_> = self.shards.iter().map(|shard| shard.edges.lock()).collect();
        let Some(path) = path(to, from.key, |key, found| all[place(key)].each(key, found)) else {
            return Ok(number);
        };
        let waits: &mut MutexGuard<'_, _> = &mut all[place(from.key)];
        self.shard(from.key).take(waits, from.key, number);
        Err(std::iter::once(from).chain(path).collect())
    }

    /// The wait of `from` with this number is over, if it was not before.
    pub(crate) fn take(&self, from: NonZeroUsize, number: u64) {
        let shard = self.shard(from);
        shard.take(&mut shard.edges.lock(), from, number);
    }

    /// All waits of `from` are over.
    pub(crate) fn forget(&self, from: NonZeroUsize) {
        let shard = self.shard(from);
        if shard.someone_waits() {
            shard.forget(&mut shard.edges.lock(), from);
        }
    }

    fn shard(&self, key: NonZeroUsize) -> &Shard {
        &self.shards[place(key)]
    }
}

fn place(key: NonZeroUsize) -> usize {
    let mut hasher = ByAddress::default();
    hasher.write_usize(key.get());
    (hasher.finish() >> (64 - SHARDS.ilog2())) as usize
}

/// The shortest way from `from` to `to`, without `to`. `waits` tells whom a service waits for.
fn path(
    from: Exclusive,
    to: NonZeroUsize,
    mut waits: impl FnMut(NonZeroUsize, &mut Vec<Exclusive>),
) -> Option<Vec<Exclusive>> {
    let mut reached = vec![(from, 0)];
    let mut known = BTreeSet::from([from.key]);
    let mut found = Vec::new();
    let mut next = 0;
    while let Some((service, _)) = reached.get(next).copied() {
        waits(service.key, &mut found);
        for service in found.drain(..) {
            if service.key == to {
                return Some(way_back(&reached, next));
            }
            if known.insert(service.key) {
                reached.push((service, next));
            }
        }
        next += 1;
    }
    None
}

fn way_back(reached: &[(Exclusive, usize)], mut at: usize) -> Vec<Exclusive> {
    let mut way = vec![reached[at].0];
    while at > 0 {
        at = reached[at].1;
        way.push(reached[at].0);
    }
    way.reverse();
    way
}

impl Shard {
    fn someone_waits(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn put(&self, from: NonZeroUsize, to: Exclusive) -> u64 {
        let mut edges = self.edges.lock();
        edges.next += 1;
        let edge = Edge {
            number: edges.next,
            to,
        };
        if let Some(waits) = edges.of.get_mut(&from) {
            waits.more.push(edge);
        } else {
            let waits = Waits {
                first: edge,
                more: Vec::new(),
            };
            edges.of.insert(from, waits);
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        edge.number
    }

    fn take(&self, edges: &mut Edges, from: NonZeroUsize, number: u64) {
        let Some(waits) = edges.of.get_mut(&from) else {
            return;
        };
        if waits.first.number != number {
            waits.more.retain(|edge| edge.number != number);
        } else if waits.more.is_empty() {
            self.forget(edges, from);
        } else {
            waits.first = waits.more.remove(0);
        }
    }

    fn forget(&self, edges: &mut Edges, from: NonZeroUsize) {
        if edges.of.remove(&from).is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Edges {
    /// Whom `from` waits for.
    fn each(&self, from: NonZeroUsize, found: &mut Vec<Exclusive>) {
        if let Some(waits) = self.of.get(&from) {
            found.push(waits.first.to);
            found.extend(waits.more.iter().map(|edge| edge.to));
        }
    }
}

/// Spreads addresses: multiplied by an odd number near 2^64 divided by the golden ratio, the high bits depend on all.
#[derive(Default)]
struct ByAddress(u64);

impl Hasher for ByAddress {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0.rotate_left(8) ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn service(number: usize) -> Exclusive {
        Exclusive {
            key: NonZeroUsize::new(4096 + 64 * number).unwrap(),
            name: || "Account",
            id: number as u64,
        }
    }

    fn ids(services: &[Exclusive]) -> Vec<u64> {
        services.iter().map(|service| service.id).collect()
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Put(usize, usize),
        Take(prop::sample::Index),
        Forget(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0..8usize, 0..8usize).prop_map(|(from, to)| Act::Put(from, to)),
            3 => any::<prop::sample::Index>().prop_map(Act::Take),
            1 => (0..8usize).prop_map(Act::Forget),
        ]
    }

    /// Whether `from` waits for `to`, directly or not.
    fn leads(edges: &[(u64, usize, usize)], from: usize, to: usize, steps: usize) -> bool {
        from == to
            || (steps > 0
                && edges
                    .iter()
                    .any(|edge| edge.1 == from && leads(edges, edge.2, to, steps - 1)))
    }

    proptest! {
        #[test]
        fn a_wait_is_refused_if_and_only_if_it_closes_a_circle(acts in prop::collection::vec(act(), 1..60)) {
            let graph = WaitGraph::new();
            let mut edges: Vec<(u64, usize, usize)> = Vec::new();
            for act in acts {
                match act {
                    Act::Put(from, to) => match graph.put(service(from), service(to)) {
                        Ok(number) => {
                            prop_assert!(!leads(&edges, to, from, 8));
                            edges.push((number, from, to));
                        }
                        Err(cycle) => {
                            let ids = ids(&cycle);
                            prop_assert_eq!(ids[0], from as u64);
                            prop_assert_eq!(ids.get(1).copied().unwrap_or(from as u64), to as u64);
                            let pairs = ids.iter().skip(1).zip(ids.iter().skip(2).chain(&ids[..1]));
                            for (one, next) in pairs {
                                let there = edges.iter().any(|edge| (edge.1 as u64, edge.2 as u64) == (*one, *next));
                                prop_assert!(there, "{:?} in {:?}", (one, next), edges);
                            }
                        }
                    },
                    Act::Take(which) if !edges.is_empty() => {
                        let (number, from, _) = edges.swap_remove(which.index(edges.len()));
                        graph.take(service(from).key, number);
                    }
                    Act::Take(_) => {}
                    Act::Forget(from) => {
                        edges.retain(|edge| edge.1 != from);
                        graph.forget(service(from).key);
                    }
                }
            }
            let waiting: BTreeMap<_, usize> = edges.iter().map(|edge| (edge.1, 1)).collect();
            let counted: usize = graph.shards.iter().map(|shard| shard.waiting.load(Ordering::SeqCst)).sum();
            prop_assert_eq!(counted, waiting.len());
        }
    }

    #[test]
    fn of_two_that_meet_one_is_refused() {
        let graph = WaitGraph::new();
        for round in 0..2000 {
            let (one, other) = (service(2 * round), service(2 * round + 1));
            let (first, second) = std::thread::scope(|scope| {
                let first = scope.spawn(|| graph.put(one, other));
                let second = graph.put(other, one);
                (first.join().unwrap(), second)
            });
            assert_eq!(
                usize::from(first.is_err()) + usize::from(second.is_err()),
                1
            );
        }
    }
}
