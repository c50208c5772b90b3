//! The queue of one node, in lanes that keep order: a pure machine, told what happens and telling what to do.
//!
//! ```text
//! accept(lane, message) ──▶ lane: waiting ──next──▶ out, one batch a lane ──settle(fates)──▶ counters
//! ```
//!
//! Promises:
//!
//! - Messages of one lane leave in the order in which they were accepted, each once.
//! - A lane has one batch out at a time, so what fails, hangs or comes late is never overtaken. There are as many calls
//!   out as lanes at most.
//! - What queues while a batch is out goes out as the next one, bounded by count and bytes.
//! - At most `capacity` messages wait or are out; a further one comes back.
//! - The counters balance after every step.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::counters::{Counters, Fate};

/// Which lane of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneId(usize);

/// How large everything is. All numbers are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many lanes there are, and so how many calls are out at most.
    pub(crate) lanes: usize,
    /// How many messages wait or are out at most.
    pub(crate) capacity: usize,
    /// How many messages go out together at most.
    pub(crate) batch_messages: usize,
    /// How many bytes go out together at most; a single message may have more.
    pub(crate) batch_bytes: usize,
}

/// The message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The lane was idle: somebody is to call [`Lanes::next`] for it until there is no more.
    pub(crate) run: bool,
}

pub(crate) struct Lanes<M> {
    shape: Shape,
    lanes: Vec<Lane<M>>,
    counters: Counters,
}

struct Lane<M> {
    waiting: VecDeque<(M, usize)>,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Nobody runs the lane, and nothing waits.
    Idle,
    /// Somebody was told to run it, or is between two batches.
    Claimed,
    /// So many messages are out.
    Out(usize),
}

impl<M> Lanes<M> {
    pub(crate) fn new(shape: Shape) -> Self {
        let lane = || Lane {
            waiting: VecDeque::new(),
            work: Work::Idle,
        };
        Self {
            shape,
            lanes: (0..shape.lanes).map(|_| lane()).collect(),
            counters: Counters::default(),
        }
    }

    /// The lane of a room's messages, or that of broadcasts. Rooms never share the lane of broadcasts, unless there is one lane only.
    pub(crate) fn lane_of(&self, room: Option<&str>) -> LaneId {
        match (room, self.lanes.len()) {
            (None, _) | (_, 1) => LaneId(0),
            (Some(room), lanes) => {
                let mut hasher = DefaultHasher::new();
                room.hash(&mut hasher);
                let rooms = lanes as u64 - 1;
                LaneId(1 + (hasher.finish() % rooms) as usize)
            }
        }
    }

    /// Queues a message of `bytes`. When there is no room it comes back.
    pub(crate) fn accept(&mut self, lane: LaneId, message: M, bytes: usize) -> Result<Accepted, M> {
        if self.counters.queued >= self.shape.capacity as u64 {
            self.counters.refused += 1;
            return Err(message);
        }
        self.counters.accepted += 1;
        self.counters.queued += 1;
        let lane = &mut self.lanes[lane.0];
        lane.waiting.push_back((message, bytes));
        let run = lane.work == Work::Idle;
        if run {
            lane.work = Work::Claimed;
        }
        Ok(Accepted { run })
    }

    /// The next batch of a lane, which is then out until [`Lanes::settle`]. `None`: nothing waits, and the lane is idle.
    /// Also `None` while a batch is out.
    pub(crate) fn next(&mut self, lane: LaneId) -> Option<Vec<M>> {
        let lane = &mut self.lanes[lane.0];
        if matches!(lane.work, Work::Out(_)) {
            return None;
        }
        let mut batch = Vec::new();
        let mut size = 0;
        while let Some((_, bytes)) = lane.waiting.front() {
            size += bytes;
            let fits = batch.len() < self.shape.batch_messages && size <= self.shape.batch_bytes;
            if !batch.is_empty() && !fits {
                break;
            }
            batch.extend(lane.waiting.pop_front().map(|(message, _)| message));
        }
        if batch.is_empty() {
            lane.work = Work::Idle;
            return None;
        }
        lane.work = Work::Out(batch.len());
        Some(batch)
    }

    /// What became of the batch that is out, message by message. One that is not told of has failed.
    pub(crate) fn settle(&mut self, lane: LaneId, fates: &[Fate]) {
        let lane = &mut self.lanes[lane.0];
        let Work::Out(out) = lane.work else {
            return;
        };
        lane.work = Work::Claimed;
        for index in 0..out {
            self.counters
                .settle(fates.get(index).copied().unwrap_or(Fate::Failed));
        }
    }

    /// Drops what waits. What is out is settled as ever.
    pub(crate) fn abandon(&mut self) {
        for lane in &mut self.lanes {
            for _ in lane.waiting.drain(..) {
                self.counters.settle(Fate::Dropped);
            }
        }
    }

    /// Whether nothing waits and nothing is out.
    pub(crate) fn is_idle(&self) -> bool {
        self.counters.queued == 0
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const BATCH_BYTES: usize = 100;

    #[derive(Clone, Debug)]
    enum Step {
        Accept { room: Option<u8>, bytes: usize },
        Next { lane: usize },
        Settle { lane: usize, fates: Vec<u8> },
        Abandon,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (proptest::option::of(0..12_u8), 1..150_usize)
                .prop_map(|(room, bytes)| Step::Accept { room, bytes }),
            4 => (0..5_usize).prop_map(|lane| Step::Next { lane }),
            4 => (0..5_usize, vec(0..4_u8, 0..6)).prop_map(|(lane, fates)| Step::Settle { lane, fates }),
            1 => Just(Step::Abandon),
        ]
    }

    fn fate(number: u8) -> Fate {
        match number {
            0 => Fate::Delivered,
            1 => Fate::Failed,
            2 => Fate::Expired,
            _ => Fate::Dropped,
        }
    }

    /// What a reader of the promises would keep in a notebook.
    #[derive(Default)]
    struct Notebook {
        accepted: u64,
        refused: u64,
        left: BTreeSet<u64>,
        last_of_lane: BTreeMap<usize, u64>,
        out: BTreeMap<usize, usize>,
        settled: u64,
        claimed: BTreeSet<usize>,
    }

    proptest! {
        #[test]
        fn order_capacity_and_the_identity_hold_whatever_happens(
            lanes in 1..5_usize,
            capacity in 1..20_usize,
            batch_messages in 1..6_usize,
            steps in vec(step(), 0..200),
        ) {
            let shape = Shape { lanes, capacity, batch_messages, batch_bytes: BATCH_BYTES };
            let mut machine = Lanes::new(shape);
            let mut book = Notebook::default();
            let mut sequence = 0_u64;
            for step in steps {
                match step {
                    Step::Accept { room, bytes } => {
                        sequence += 1;
                        let name = room.map(|room| room.to_string());
                        let lane = machine.lane_of(name.as_deref());
                        prop_assert!(lane.0 < lanes);
                        prop_assert_eq!(lane, machine.lane_of(name.as_deref()));
                        prop_assert_eq!(lane.0 == 0, room.is_none() || lanes == 1);
                        let full = machine.counters().queued == capacity as u64;
                        match machine.accept(lane, (sequence, bytes), bytes) {
                            Ok(accepted) => {
                                prop_assert!(!full);
                                book.accepted += 1;
                                // A lane is told to run exactly when nobody runs it.
                                prop_assert_eq!(accepted.run, book.claimed.insert(lane.0));
                            }
                            Err(message) => {
                                prop_assert!(full);
                                prop_assert_eq!(message.0, sequence);
                                book.refused += 1;
                            }
                        }
                    }
                    Step::Next { lane } => {
                        let lane = lane % lanes;
                        let was_out = book.out.contains_key(&lane);
                        if let Some(batch) = machine.next(LaneId(lane)) {
                            prop_assert!(!was_out, "one call a lane");
                            prop_assert!((1..=batch_messages).contains(&batch.len()));
                            let size: usize = batch.iter().map(|(_, bytes)| bytes).sum();
                            prop_assert!(batch.len() == 1 || size <= BATCH_BYTES);
                            for (number, _) in &batch {
                                prop_assert!(book.left.insert(*number), "each once");
                                let last = book.last_of_lane.insert(lane, *number).unwrap_or(0);
                                prop_assert!(last < *number, "in order");
                            }
                            book.out.insert(lane, batch.len());
                            prop_assert!(book.out.len() <= lanes);
                        } else if !was_out {
                            book.claimed.remove(&lane);
                        }
                    }
                    Step::Settle { lane, fates } => {
                        let lane = lane % lanes;
                        let fates: Vec<_> = fates.into_iter().map(fate).collect();
                        machine.settle(LaneId(lane), &fates);
                        book.settled += book.out.remove(&lane).unwrap_or(0) as u64;
                    }
                    Step::Abandon => {
                        let before = machine.counters();
                        machine.abandon();
                        let after = machine.counters();
                        let out: usize = book.out.values().sum();
                        prop_assert_eq!(after.queued, out as u64);
                        prop_assert_eq!(after.dropped - before.dropped, before.queued - after.queued);
                        book.settled += before.queued - after.queued;
                    }
                }
                let counters = machine.counters();
                prop_assert!(counters.is_balanced(), "{counters:?}");
                prop_assert_eq!(counters.accepted, book.accepted);
                prop_assert_eq!(counters.refused, book.refused);
                prop_assert_eq!(counters.queued, book.accepted - book.settled);
                prop_assert!(counters.queued <= capacity as u64);
                prop_assert_eq!(machine.is_idle(), counters.queued == 0);
            }
            // Nothing is lost: whatever is left comes out.
            for lane in 0..lanes {
                machine.settle(LaneId(lane), &[]);
                while machine.next(LaneId(lane)).is_some() {
                    machine.settle(LaneId(lane), &[]);
                }
            }
            prop_assert!(machine.is_idle());
            prop_assert!(machine.counters().is_balanced());
        }
    }

    #[test]
    fn what_queues_while_a_batch_is_out_goes_out_together() {
        let mut lanes = Lanes::new(Shape {
            lanes: 2,
            capacity: 10,
            batch_messages: 8,
            batch_bytes: BATCH_BYTES,
        });
        let lane = lanes.lane_of(Some("a"));
        assert_eq!(lanes.accept(lane, 1, 1), Ok(Accepted { run: true }));
        assert_eq!(lanes.next(lane), Some(vec![1]));
        for message in 2..5 {
            assert_eq!(lanes.accept(lane, message, 1), Ok(Accepted { run: false }));
        }
        assert_eq!(lanes.next(lane), None);
        lanes.settle(lane, &[Fate::Delivered]);
        assert_eq!(lanes.next(lane), Some(vec![2, 3, 4]));
    }
}
