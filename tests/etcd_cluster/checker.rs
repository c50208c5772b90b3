//! Whether a history is linearizable: whether all operations can be put in one order in which each takes effect at an instant
//! between its question and its answer, and each answer is right.
//!
//! The search is that of Wing and Gong as Lowe made it quick: operations are tried one after the other in the order in which
//! they were asked; after an answer has been passed nothing that was asked later may come before it; and what was tried once, the
//! same operations done and the same state, is not tried again. Keys do not touch each other, so each is searched alone.
//!
//! An operation whose outcome is unknown may take effect at any time after its question, or never: it has no answer that would
//! have to be passed, and need not be done at the end.

use std::collections::{BTreeMap, HashSet};

use crate::history::{Action, Operation, Reply, Value};

/// Steps of the search in one key. A recorded history takes some thousands; one that takes more than this is not decided.
const MOST_STEPS: u64 = 50_000_000;

/// What is remembered of the search in one key: some hundred bytes each.
const MOST_TRIED: usize = 2_000_000;

/// What the checker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// This key's operations have no such order.
    Violated(u32),
    /// The search in this key took too long.
    Undecided(u32),
}

/// Judges a history of any number of keys, all absent at its beginning.
pub(crate) fn check(history: &[Operation]) -> Verdict {
    let mut keys: BTreeMap<u32, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(operation.key).or_default().push(*operation);
    }
    for (key, operations) in keys {
        match Search::new(&operations).run() {
            Some(true) => {}
            Some(false) => return Verdict::Violated(key),
            None => return Verdict::Undecided(key),
        }
    }
    Verdict::Linearizable
}

/// What a key holds.
pub(crate) type State = Option<Value>;

/// What a key that holds `state` holds after `operation`; `None` if its answer would be wrong.
pub(crate) fn after(state: State, operation: &Operation) -> Option<State> {
    match (operation.action, operation.reply) {
        (Action::Get, Reply::Found(found)) => (found == state).then_some(state),
        (Action::Put(value), Reply::Written | Reply::Unknown) => Some(Some(value)),
        (Action::Delete, Reply::Deleted(deleted)) => (deleted == state.is_some()).then_some(None),
        (Action::Delete, Reply::Unknown) => Some(None),
        (Action::Swap { expected, new }, Reply::Swapped) => {
            (state == expected).then_some(Some(new))
        }
        (Action::Swap { expected, .. }, Reply::Found(found)) => {
            (state != expected && state == found).then_some(state)
        }
        (Action::Swap { expected, new }, Reply::Unknown) => {
            Some(if state == expected { Some(new) } else { state })
        }
        (Action::Get, Reply::Unknown) => Some(state),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Event {
    Question(usize),
    Answer(usize),
}

/// The search in the operations of one key.
struct Search<'a> {
    operations: &'a [Operation],
    /// Questions and answers in the order of time, as a list from which operations that are done are taken out. 0 is its head.
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where an operation's question and answer stand; 0 if it has no answer.
    places: Vec<(usize, usize)>,
    done: Vec<u64>,
    /// How many operations with an answer are not done.
    left: usize,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let known = |operation: &Operation| operation.reply != Reply::Unknown;
        let mut timed: Vec<(u64, Event)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            timed.push((operation.called, Event::Question(number)));
            if known(operation) {
                timed.push((operation.returned, Event::Answer(number)));
            }
        }
        timed.sort_by_key(|(time, _)| *time);
        let head = Event::Question(usize::MAX);
        let events: Vec<Event> = std::iter::once(head)
            .chain(timed.into_iter().map(|(_, event)| event))
            .collect();
        let mut places = vec![(0, 0); operations.len()];
        for (place, event) in events.iter().enumerate().skip(1) {
            match *event {
                Event::Question(number) => places[number].0 = place,
                Event::Answer(number) => places[number].1 = place,
            }
        }
        let count = events.len();
        Self {
            operations,
            next: (1..=count).collect(),
            previous: (0..=count).map(|place| place.saturating_sub(1)).collect(),
            events,
            places,
            done: vec![0; operations.len().div_ceil(64)],
            left: operations
                .iter()
                .filter(|operation| known(operation))
                .count(),
        }
    }

    /// Whether there is such an order; `None` if it was not found out in [`MOST_STEPS`], or without remembering more than [`MOST_TRIED`].
    fn run(mut self) -> Option<bool> {
        let mut state: State = None;
        let mut trail: Vec<(usize, State)> = Vec::new();
        let mut tried: HashSet<(Vec<u64>, State)> = HashSet::new();
        let mut place = self.next[0];
        for _ in 0..MOST_STEPS {
            if self.left == 0 {
                return Some(true);
            }
            if tried.len() >= MOST_TRIED {
                return None;
            }
            // While an answer is left, the list does not end before it.
            if let Event::Question(number) = self.events[place] {
                if let Some(then) = after(state, &self.operations[number]) {
                    self.mark(number);
                    if tried.insert((self.done.clone(), then)) {
                        trail.push((number, state));
                        state = then;
                        self.take_out(number);
                        place = self.next[0];
                        continue;
                    }
                    self.mark(number);
                }
                place = self.next[place];
            } else {
                let Some((number, before)) = trail.pop() else {
                    return Some(false);
                };
                state = before;
                self.mark(number);
                self.put_back(number);
                place = self.next[self.places[number].0];
            }
        }
        None
    }

    /// Notes that an operation is done, or, the second time, that it is not.
    fn mark(&mut self, number: usize) {
        self.done[number / 64] ^= 1 << (number % 64);
    }

    fn take_out(&mut self, number: usize) {
        let (question, answer) = self.places[number];
        self.unlink(question);
        if answer != 0 {
            self.unlink(answer);
            self.left -= 1;
        }
    }

    /// Undoes the last [`take_out`](Self::take_out) that is not undone, so in the opposite order.
    fn put_back(&mut self, number: usize) {
        let (question, answer) = self.places[number];
        if answer != 0 {
            self.link(answer);
            self.left += 1;
        }
        self.link(question);
    }

    fn unlink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn link(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = place;
        self.previous[next] = place;
    }
}
