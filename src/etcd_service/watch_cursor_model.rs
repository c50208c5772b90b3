//! The cursor against a model of etcd: whatever is cut off, compacted or repeated, the subscriber's view ends equal to the
//! store, and as long as the history is there every change is told once and in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::messages::KeyValue;
use super::watch::WatchKind;
use super::watch_cursor::{Change, Cursor, Next, Reaction, Response};

type View = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// A store with its whole history, of which what lies before `compacted` may not be read.
#[derive(Default)]
struct Store {
    cluster: u64,
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
}

fn apply(view: &mut View, changes: &[Change]) {
    for change in changes {
        match change.kind {
            WatchKind::Put => {
                let told = (change.value.clone(), change.mod_revision);
                view.insert(change.key.clone(), told);
            }
            WatchKind::Delete => drop(view.remove(&change.key)),
            WatchKind::Synchronized => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    /// The watch gets on: so many pages or revisions, then its connection is cut.
    Advance(usize),
    /// As before, and each response repeats the last revisions.
    AdvanceRepeating(usize),
    Compact,
    /// The store is replaced by another.
    Replace,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop::collection::vec((0u8..5, prop::option::weighted(0.7, any::<u8>())), 1..4);
    let step = prop_oneof![
        6 => keys.prop_map(Step::Write),
        3 => (0usize..4).prop_map(Step::Advance),
        1 => (0usize..4).prop_map(Step::AdvanceRepeating),
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
                        self.cursor.listing_compacted();
                        continue;
                    }
                    if !self.cursor.begin_listing(store.cluster) {
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
                Next::Follow { start } => {
                    let mut response = Response {
                        cluster: store.cluster,
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
                        if budget == 0 {
                            return false;
                        }
                        budget -= 1;
                        let from = (revision - repeat).max(store.compacted);
                        let mut response = response.clone();
                        response.changes = store.changes_from(from);
                        response
                            .changes
                            .retain(|change| change.mod_revision <= revision);
                        match self.cursor.response(response) {
                            Reaction::Tell(changes) => self.hear(changes),
                            other => panic!("{other:?}"),
                        }
                    }
                    if self.cursor.last() == store.revision() {
                        return true;
                    }
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
                    cluster: store.cluster + 1,
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
    assert!(watcher.told.iter().all(|change| !change.snapshot));
}
