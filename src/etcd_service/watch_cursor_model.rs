//! The cursor against a model of etcd: whatever is cut off, compacted or repeated, the subscriber's view ends equal to the
//! store, and as long as the history is there every change is told once and in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::messages::KeyValue;
use super::watch::WatchKind;
use super::watch_change::{Change, Response};
use super::watch_cursor::{Cursor, Next, Reaction};

type View = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// A store with its whole history, of which what lies before `compacted` may not be read.
#[derive(Default)]
struct Store {
    number: u64,
    /// The changes of revision 2, 3 and so on: revision 1 is the empty store.
    history: Vec<Vec<Change>>,
    compacted: i64,
}

impl Store {
    fn revision(&self) -> i64 {
        self.history.len() as i64 + 1
    }

    fn write(&mut self, keys: &[(u8, Option<u8>)]) {
        let now = self.at(self.revision());
        let revision = self.revision() + 1;
        let mut changes: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
        for &(key, value) in keys {
            let key = vec![key];
            if value.is_none() && !now.contains_key(&key) {
                continue;
            }
            let kind = match value {
                Some(_) => WatchKind::Put,
                None => WatchKind::Delete,
            };
            changes.insert(
                key.clone(),
                Change {
                    kind,
                    key,
                    value: value.into_iter().collect(),
                    mod_revision: revision,
                    snapshot: false,
                    relisted: false,
                    previous: None,
                },
            );
        }
        if !changes.is_empty() {
            self.history.push(changes.into_values().collect());
        }
    }

    fn at(&self, revision: i64) -> View {
        let mut view = View::new();
        for changes in &self.history[..(revision - 1) as usize] {
            apply(&mut view, changes);
        }
        view
    }

    fn changes_from(&self, revision: i64) -> Vec<Change> {
        let all = self.history.iter().flatten();
        all.filter(|change| change.mod_revision >= revision)
            .cloned()
            .collect()
    }

    /// What a server tells of one revision: one that was compacted there has forgotten what was deleted.
    fn still_told(&self, revision: i64) -> Vec<Change> {
        let mut changes = self.changes_from(revision);
        changes.retain(|change| {
            change.mod_revision == revision
                && (revision > self.compacted || change.kind == WatchKind::Put)
        });
        changes
    }
}

fn apply(view: &mut View, changes: &[Change]) {
    for change in changes {
        match change.kind {
            WatchKind::Put => {
                let told = (change.value.clone(), change.mod_revision);
                view.insert(change.key.clone(), told);
            }
            WatchKind::Delete => drop(view.remove(&change.key)),
            WatchKind::Synchronized | WatchKind::Refused => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    /// The watch gets on: so many pages, values or fragments, then its connection is cut.
    Advance(usize),
    /// As before, and each response repeats the last revisions.
    AdvanceRepeating(usize),
    Compact,
    /// The store is replaced by another.
    Replace,
}

/// Pairs that are fetched at a time.
const FETCHED: usize = 2;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop::collection::vec((0u8..5, prop::option::weighted(0.7, any::<u8>())), 1..4);
    let step = prop_oneof![
        6 => keys.prop_map(Step::Write),
        3 => (0usize..6).prop_map(Step::Advance),
        1 => (0usize..6).prop_map(Step::AdvanceRepeating),
        1 => Just(Step::Compact),
    ];
    prop::collection::vec(step, 0..40)
}

struct Watcher {
    cursor: Cursor,
    view: View,
    told: Vec<Change>,
}

impl Watcher {
    fn hear(&mut self, changes: Vec<Change>) {
        apply(&mut self.view, &changes);
        self.told.extend(changes);
    }

    /// Plays the part of the task: one connection that takes `budget` pages or revisions. `true` when it has caught up.
    fn advance(&mut self, store: &Store, mut budget: usize, repeat: i64) -> bool {
        loop {
            match self.cursor.next() {
                Next::List {
                    revision,
                    keys_only,
                } => {
                    let at = revision.unwrap_or(store.revision());
                    if at < store.compacted {
                        self.cursor.compacted();
                        continue;
                    }
                    if !self.cursor.begin_listing(store.number) {
                        continue;
                    }
                    for (key, (value, mod_revision)) in store.at(at) {
                        if budget == 0 {
                            return false;
                        }
                        budget -= 1;
                        let changes = self.cursor.page(vec![KeyValue {
                            key,
                            value: if keys_only { Vec::new() } else { value },
                            mod_revision,
                            ..KeyValue::default()
                        }]);
                        self.hear(changes);
                    }
                    let changes = self.cursor.end_listing(at);
                    self.hear(changes);
                }
                Next::Fetch { revision } => {
                    if revision < store.compacted {
                        self.cursor.compacted();
                        continue;
                    }
                    if budget == 0 {
                        return false;
                    }
                    budget -= 1;
                    let keys: Vec<_> = self.cursor.wanted().take(FETCHED).cloned().collect();
                    // Another store has revisions of its own, and perhaps not so many.
                    if revision > store.revision() {
                        self.cursor.listing_in_future();
                        continue;
                    }
                    let view = store.at(revision);
                    let pairs = keys.iter().filter_map(|key| {
                        let (value, mod_revision) = view.get(key)?.clone();
                        Some(KeyValue {
                            key: key.clone(),
                            value,
                            mod_revision,
                            ..KeyValue::default()
                        })
                    });
                    let changes = self
                        .cursor
                        .fetched(store.number, keys.len(), pairs.collect());
                    self.hear(changes);
                }
                Next::Follow { start } => {
                    let mut response = Response {
                        history: store.number,
                        ..Response::default()
                    };
                    if start < store.compacted {
                        response.canceled = true;
                        response.compact_revision = store.compacted;
                        let Reaction::Relist(_) = self.cursor.response(response) else {
                            panic!("a compacted watch is listed again");
                        };
                        continue;
                    }
                    // That the watch was made.
                    if self.cursor.response(response.clone()) != Reaction::Tell(Vec::new()) {
                        continue;
                    }
                    for revision in start..=store.revision() {
                        let repeated = (revision - repeat).max(store.compacted)..revision;
                        let mut changes: Vec<_> = repeated
                            .chain([revision])
                            .flat_map(|revision| store.still_told(revision))
                            .collect();
                        while !changes.is_empty() {
                            if budget == 0 {
                                return false;
                            }
                            budget -= 1;
                            let rest = changes.split_off(1);
                            response.fragment = !rest.is_empty();
                            response.changes = std::mem::replace(&mut changes, rest);
                            match self.cursor.response(response.clone()) {
                                Reaction::Tell(changes) => self.hear(changes),
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                    // The last revision may have told nothing: a delete that was compacted.
                    return true;
                }
            }
        }
    }
}

/// Plays the steps, lets the watcher catch up, and returns it with whether history was lost to it.
fn play(steps: &[Step], cursor: Cursor, store: &mut Store) -> (Watcher, bool) {
    let mut watcher = Watcher {
        cursor,
        view: View::new(),
        told: Vec::new(),
    };
    let mut lost = false;
    for step in steps {
        match step {
            Step::Write(keys) => store.write(keys),
            Step::Advance(budget) => drop(watcher.advance(store, *budget, 0)),
            Step::AdvanceRepeating(budget) => drop(watcher.advance(store, *budget, 2)),
            Step::Compact => {
                store.compacted = store.revision();
                lost = true;
            }
            Step::Replace => {
                *store = Store {
                    number: store.number + 1,
                    ..Store::default()
                };
                store.write(&[(1, Some(1))]);
                lost = true;
            }
        }
    }
    assert!(watcher.advance(store, usize::MAX, 0));
    (watcher, lost)
}

fn without_snapshot(told: &[Change]) -> Vec<Change> {
    told.iter()
        .filter(|change| !change.snapshot)
        .cloned()
        .collect()
}

proptest! {
    #[test]
    fn the_view_ends_equal_to_the_store(steps in steps()) {
        let mut store = Store::default();
        let (watcher, _) = play(&steps, Cursor::snapshot(), &mut store);
        prop_assert_eq!(watcher.view, store.at(store.revision()));
        let synchronized = watcher.told.iter().filter(|change| change.kind == WatchKind::Synchronized);
        prop_assert_eq!(synchronized.count(), 1);
        let changes = without_snapshot(&watcher.told);
        prop_assert!(changes.is_sorted_by_key(|change| change.mod_revision));
        prop_assert!(changes.iter().enumerate().all(|(place, change)| {
            let same = |other: &Change| (&other.key, other.mod_revision) == (&change.key, change.mod_revision);
            !changes[..place].iter().any(same)
        }), "a change is told once: {:?}", changes);
    }

    #[test]
    fn as_long_as_history_is_there_each_change_is_told_once_and_in_order(steps in steps()) {
        let mut store = Store::default();
        let (watcher, lost) = play(&steps, Cursor::snapshot(), &mut store);
        prop_assume!(!lost);
        let synchronized = watcher
            .told
            .iter()
            .find(|change| change.kind == WatchKind::Synchronized)
            .map(|change| change.mod_revision);
        let expected = store.changes_from(synchronized.unwrap_or(0) + 1);
        prop_assert_eq!(without_snapshot(&watcher.told), expected);
        prop_assert!(!watcher.told.iter().any(|change| change.relisted));
    }

    #[test]
    fn from_a_revision_each_change_is_told_and_nothing_before(steps in steps(), from in 1i64..10) {
        let mut store = Store::default();
        for number in 0..from {
            store.write(&[(number as u8 % 3, Some(number as u8))]);
        }
        let known = store.at(from.max(2) - 1);
        // The keys from before are learned first: what is compacted until then cannot be known.
        let steps: Vec<Step> = [Step::Advance(100)].into_iter().chain(steps).collect();
        let (watcher, lost) = play(&steps, Cursor::from_revision(from), &mut store);
        if !lost {
            prop_assert_eq!(&watcher.told, &store.changes_from(from));
        }
        let mut view = known;
        apply(&mut view, &watcher.told);
        prop_assert_eq!(view, store.at(store.revision()));
    }

    #[test]
    fn a_store_that_was_replaced_is_told_as_a_difference(before in steps(), after in steps()) {
        let mut steps = before;
        steps.push(Step::Replace);
        steps.extend(after);
        let mut store = Store::default();
        let (watcher, _) = play(&steps, Cursor::snapshot(), &mut store);
        prop_assert_eq!(watcher.view, store.at(store.revision()));
    }
}

#[test]
fn from_a_revision_that_is_compacted_what_is_there_now_is_told() {
    let mut store = Store::default();
    store.write(&[(1, Some(1))]);
    store.write(&[(2, Some(2))]);
    let steps = [Step::Compact, Step::Write(vec![(3, Some(3))])];
    let (watcher, _) = play(&steps, Cursor::from_revision(2), &mut store);
    assert_eq!(watcher.view, store.at(store.revision()));
    assert!(
        watcher
            .told
            .iter()
            .all(|change| !change.snapshot && change.relisted)
    );
}

/// A server that was compacted at the very revision from which it is watched tells its puts alone.
#[test]
fn deletes_of_a_revision_told_in_part_are_told_also_when_it_is_compacted() {
    let all = |value| (0..3).map(|key| (key, value)).collect();
    let snapshot = Step::Advance(usize::MAX);
    // The three puts come again and are known; then one of the deletes, and the cut.
    let cut_within = Step::Advance(4);
    let steps = [
        Step::Write(all(Some(1))),
        snapshot,
        Step::Write(all(None)),
        cut_within,
        Step::Compact,
    ];
    let mut store = Store::default();
    let (watcher, _) = play(&steps, Cursor::snapshot(), &mut store);
    assert_eq!(watcher.view, View::new());
    let deletes = watcher.told.iter();
    let deletes: Vec<_> = deletes
        .filter(|change| change.kind == WatchKind::Delete)
        .map(|change| change.relisted)
        .collect();
    assert_eq!(deletes, [false, true, true]);
}
