//! A hashed timing wheel: the data structure behind timers, without a clock.
//!
//! Deadlines are ticks. Setting and cancelling cost the same however many timers there are: a timer lies in a
//! doubly linked list in the slot of its tick modulo the number of slots. A bitmap of occupied slots tells when to look
//! next, so that an idle wheel needs no ticking.
//!
//! The idea: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987, scheme 6.
//!
//! Promises: a timer fires once, at the first [`Wheel::advance`] to its tick or beyond, in the order of ticks and, within
//! one, of setting; a cancelled one never.

use slab::Slab;

/// With ticks of 10 ms one turn of the wheel takes 41 s, more than the usual timeouts, which therefore are met once only.
const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
const NONE: u32 = u32::MAX;

/// A timer that was set. Outlives it harmlessly: keys are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    serial: u64,
}

pub(crate) struct Wheel<T> {
    timers: Slab<Entry<T>>,
    slots: Box<[List]>,
    occupied: [u64; WORDS],
    /// The tick that was last advanced to.
    now: u64,
    serial: u64,
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

struct Entry<T> {
    deadline: u64,
    serial: u64,
    previous: u32,
    next: u32,
    content: T,
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            timers: Slab::new(),
            slots: vec![
                List {
                    first: NONE,
                    last: NONE
                };
                SLOTS
            ]
            .into_boxed_slice(),
            occupied: [0; WORDS],
            now: 0,
            serial: 0,
        }
    }

    /// Sets a timer. One whose tick has come already fires at the next advance.
    pub(crate) fn set(&mut self, deadline: u64, content: T) -> TimerKey {
        let deadline = deadline.max(self.now + 1);
        self.serial += 1;
        let slot = slot_of(deadline);
        let last = self.slots[slot].last;
        let key = self.timers.insert(Entry {
            deadline,
            serial: self.serial,
            previous: last,
            next: NONE,
            content,
        });
        let index = u32::try_from(key).expect("fewer than four billion timers fit into memory");
        match self.timers.get_mut(last as usize) {
            Some(entry) => entry.next = index,
            None => self.slots[slot].first = index,
        }
        self.slots[slot].last = index;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        TimerKey {
            index,
            serial: self.serial,
        }
    }

    /// What the timer holds, while it is set.
    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        self.timers
            .get_mut(key.index as usize)
            .filter(|entry| entry.serial == key.serial)
            .map(|entry| &mut entry.content)
    }

    /// Forgets a timer. `None`: it has fired or was cancelled before.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.get_mut(key)?;
        Some(self.remove(key.index))
    }

    /// Takes all timers out, in no order.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        let timers = std::mem::replace(self, Self::new());
        // Keys from before must not be taken for those of timers to come.
        self.serial = timers.serial;
        self.now = timers.now;
        let timers = timers.timers;
        timers.into_iter().map(|(_, entry)| entry.content).collect()
    }

    /// Moves to tick `now` and appends what fires to `fired`.
    pub(crate) fn advance(&mut self, now: u64, fired: &mut Vec<T>) {
        while self.now < now {
            let next = match self.next_tick() {
                Some(tick) if tick <= now => tick,
                _ => {
                    self.now = now;
                    return;
                }
            };
            self.now = next;
            let mut index = self.slots[slot_of(next)].first;
            while index != NONE {
                let entry = &self.timers[index as usize];
                let after = entry.next;
                if entry.deadline <= next {
                    fired.push(self.remove(index));
                }
                index = after;
            }
        }
    }

    /// The tick at which to look next: no timer fires before it.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        let start = slot_of(self.now + 1);
        let (word, bit) = (start / 64, start % 64);
        for step in 0..=WORDS {
            let at = (word + step) % WORDS;
            let mut bits = self.occupied[at];
            if step == 0 {
                bits &= !0 << bit;
            } else if step == WORDS {
                bits &= !(!0 << bit);
            }
            if bits != 0 {
                let slot = at * 64 + bits.trailing_zeros() as usize;
                let distance = (slot + SLOTS - start) % SLOTS;
                return Some(self.now + 1 + distance as u64);
            }
        }
        None
    }

    fn remove(&mut self, index: u32) -> T {
        let entry = self.timers.remove(index as usize);
        let slot = slot_of(entry.deadline);
        match self.timers.get_mut(entry.previous as usize) {
            Some(previous) => previous.next = entry.next,
            None => self.slots[slot].first = entry.next,
        }
        match self.timers.get_mut(entry.next as usize) {
            Some(next) => next.previous = entry.previous,
            None => self.slots[slot].last = entry.previous,
        }
        if self.slots[slot].first == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        entry.content
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).expect("less than the number of slots")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop_oneof![0u64..50, 0u64..20_000].prop_map(Step::Set),
            1 => any::<usize>().prop_map(Step::Cancel),
            2 => prop_oneof![0u64..50, 0u64..9_000].prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(steps in prop::collection::vec(step(), 0..200)) {
            let mut wheel = Wheel::new();
            let mut model: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            let mut keys = Vec::new();
            let (mut now, mut serial) = (0u64, 0u64);
            for step in steps {
                match step {
                    Step::Set(after) => {
                        serial += 1;
                        let deadline = (now + after).max(now + 1);
                        keys.push((wheel.set(now + after, serial), (deadline, serial)));
                        model.insert((deadline, serial), serial);
                    }
                    Step::Cancel(which) if !keys.is_empty() => {
                        let (key, place) = keys[which % keys.len()];
                        prop_assert_eq!(wheel.cancel(key), model.remove(&place));
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(by) => {
                        now += by;
                        let mut fired = Vec::new();
                        wheel.advance(now, &mut fired);
                        let mut expected = Vec::new();
                        while let Some(entry) = model.first_entry() {
                            if entry.key().0 > now {
                                break;
                            }
                            expected.push(entry.remove());
                        }
                        prop_assert_eq!(fired, expected);
                    }
                }
                match (wheel.next_tick(), model.first_key_value()) {
                    (None, None) => {}
                    (Some(tick), Some(((deadline, _), _))) => {
                        prop_assert!(tick > now && tick <= *deadline);
                    }
                    (tick, first) => prop_assert!(false, "{:?} against {:?}", tick, first),
                }
            }
        }
    }
}
