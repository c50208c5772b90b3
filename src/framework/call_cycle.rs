//! Call cycles: services that wait for each other for ever, found when the call is made that would close the circle.
//!
//! A service with [`max_in_flight(1)`](super::Options::max_in_flight) starts no message while its handler waits. If that waits for the reply of a second such
//! service, and that one for the reply of the first, nobody ever goes on:
//!
//! ```text
//! Account(3) ──calls──▶ Limits(4) ──calls──▶ Account(3): ends at once with CallError::Cycle
//! ```
//!
//! So each call from one such service to another is kept in a graph for as long as it lasts. Other calls are not in it: they
//! pay for one comparison. The graph is one for the process, because a circle may pass through several `Million`s.
//!
//! Promises:
//!
//! - A call that would close a circle is not sent, and ends when it is first polled. Of calls that close one circle
//!   at the same moment one ends, and the others go on.
//! - No call ends so without a circle: it is looked for twice, and the second time nobody can change the graph.
//! - What a handler has polled once counts as waited for until it is dropped, it is polled elsewhere, or the handler ends.
//! - What happens does not depend on addresses or on the order of a hash table: it is only ever asked for keys.

use std::any::type_name;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::MutexGuard;

use super::context::ServiceId;
use super::error::CallError;
use super::state::Running;
use super::sync::Mutex;

/// The graph is divided by who waits, so that workers seldom meet at a lock.
const SHARDS: usize = 64;

/// Services that would wait for each other for ever: the first for the second, …, the last for the first.
///
/// It is displayed as the chain with the services' numbers: `Account(3) → Limits(4) → Account(3)`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallCycle(Arc<Vec<(&'static str, ServiceId)>>);

impl CallCycle {
    fn of(services: &[Service]) -> Self {
        let names = services
            .iter()
            .map(|service| ((service.name)(), ServiceId(service.id)));
        Self(Arc::new(names.collect()))
    }

    /// Reports that a call with an `M` was refused.
    pub(crate) fn refuses<M>(self) -> CallError {
        let (service, id) = self.0.first().copied().unwrap_or(("", ServiceId(0)));
        tracing::error!(
            service,
            id = id.0,
            calling = type_name::<M>(),
            cycle = %self,
            "a call was refused: the services in the cycle handle one message at a time and would wait for each other for ever"
        );
        CallError::Cycle(self)
    }

    /// The name of each service's type and its number, the one whose call was refused first. Numbers are unique in one
    /// `Million`.
    pub fn services(&self) -> impl ExactSizeIterator<Item = (&'static str, ServiceId)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for CallCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, id) in self.0.iter() {
            write!(f, "{}({id}) → ", without_paths(name))?;
        }
        match self.0.first() {
            Some((name, id)) => write!(f, "{}({id})", without_paths(name)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CallCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallCycle({self})")
    }
}

/// The name of a type without the paths of its parts.
fn without_paths(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut word = 0;
    for letter in name.chars() {
        short.push(letter);
        if short.ends_with("::") {
            short.truncate(word);
        } else if !(letter.is_alphanumeric() || letter == '_' || letter == ':') {
            word = short.len();
        }
    }
    short
}

/// A handler of a service waits for a call to another; both handle one message at a time. It is over when this is dropped.
pub(crate) struct Wait {
    from: NonZeroUsize,
    number: u64,
}

static GRAPH: Graph = Graph::new();

impl Wait {
    /// The handler that is running here begins to wait for `target`. `None`: one of the two goes on with other messages meanwhile, or this
    /// is no handler.
    pub(crate) fn begin(target: Running) -> Result<Option<Self>, CallCycle> {
        if !target.exclusive {
            return Ok(None);
        }
        let Some((from, to)) = Running::here()
            .filter(|here| here.exclusive)
            .and_then(|here| Some((Service::of(here)?, Service::of(target)?)))
        else {
            return Ok(None);
        };
        let number = GRAPH.put(from, to).map_err(|cycle| CallCycle::of(&cycle))?;
        Running::note_wait();
        Ok(Some(Self {
            from: from.key,
            number,
        }))
    }

    /// Whether this is the handler that waits, or another of its service.
    pub(crate) fn is_here(&self) -> bool {
        Running::here().is_some_and(|here| here.key.addr() == self.from.get())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        GRAPH.take(self.from, self.number);
    }
}

/// The only handler of `service` has ended, so it waits for nothing, though a call that it began may live on elsewhere.
pub(crate) fn handler_ended(service: Running) {
    if let Some(service) = Service::of(service) {
        GRAPH.forget(service.key);
    }
}

/// A service that handles one message at a time.
#[derive(Clone, Copy)]
struct Service {
    key: NonZeroUsize,
    name: fn() -> &'static str,
    id: u64,
}

impl Service {
    fn of(running: Running) -> Option<Self> {
        Some(Self {
            key: NonZeroUsize::new(running.key.addr())?,
            name: running.name,
            id: running.id,
        })
    }
}

/// Who waits for whom.
struct Graph {
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
    to: Service,
}

impl Graph {
    const fn new() -> Self {
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
    fn put(&self, from: Service, to: Service) -> Result<u64, Vec<Service>> {
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
    fn take(&self, from: NonZeroUsize, number: u64) {
        let shard = self.shard(from);
        shard.take(&mut shard.edges.lock(), from, number);
    }

    /// All waits of `from` are over.
    fn forget(&self, from: NonZeroUsize) {
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
    from: Service,
    to: NonZeroUsize,
    mut waits: impl FnMut(NonZeroUsize, &mut Vec<Service>),
) -> Option<Vec<Service>> {
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

fn way_back(reached: &[(Service, usize)], mut at: usize) -> Vec<Service> {
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

    fn put(&self, from: NonZeroUsize, to: Service) -> u64 {
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
    fn each(&self, from: NonZeroUsize, found: &mut Vec<Service>) {
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

    fn service(number: usize) -> Service {
        Service {
            key: NonZeroUsize::new(4096 + 64 * number).unwrap(),
            name: || "some::path::Account<other::Currency>",
            id: number as u64,
        }
    }

    fn ids(services: &[Service]) -> Vec<u64> {
        services.iter().map(|service| service.id).collect()
    }

    #[test]
    fn a_chain_is_shown_with_short_names_and_numbers() {
        let cycle = CallCycle::of(&[service(3), service(4)]);
        let shown = "Account<Currency>(3) → Account<Currency>(4) → Account<Currency>(3)";
        assert_eq!(cycle.to_string(), shown);
        assert_eq!(without_paths("(a::B, &c::d_e::F)"), "(B, &F)");
        assert_eq!(without_paths("Plain"), "Plain");
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
            let graph = Graph::new();
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
        let graph = Graph::new();
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
