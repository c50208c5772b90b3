//! From what a watch tells to changes with the value before: purely.

use std::collections::BTreeMap;

use super::config_value::ConfigValue;
use super::config_watch::ConfigChangeKind;

/// The values that were told, by path.
#[derive(Debug)]
pub(super) struct ConfigChanges {
    known: BTreeMap<String, Vec<u8>>,
    /// Whether what comes was set before the watch began.
    beginning: bool,
    changes_only: bool,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) path: String,
    pub(super) old: Option<ConfigValue>,
    pub(super) new: Option<ConfigValue>,
    pub(super) kind: ConfigChangeKind,
}

impl ConfigChanges {
    pub(super) fn new(changes_only: bool) -> Self {
        Self {
            known: BTreeMap::new(),
            beginning: true,
            changes_only,
        }
    }

    /// All that was set has come: what follows are changes.
    pub(super) fn begin(&mut self) {
        self.beginning = false;
    }

    /// The path has this value from now on, or none. Returns what is to be told, if anything is.
    pub(super) fn change(&mut self, path: &str, new: Option<&Vec<u8>>) -> Option<Told> {
        let old = match new {
            Some(new) => self.known.insert(path.to_owned(), new.clone()),
            None => self.known.remove(path),
        };
        if old.as_ref() == new || self.beginning && self.changes_only {
            return None;
        }
        let kind = match (&old, new) {
            (None, Some(_)) if self.beginning => ConfigChangeKind::Present,
            (None, _) => ConfigChangeKind::Created,
            (Some(_), Some(_)) => ConfigChangeKind::Changed,
            (Some(_), None) => ConfigChangeKind::Deleted,
        };
        let value = |bytes: Vec<u8>| ConfigValue::new(path, bytes);
        Some(Told {
            path: path.to_owned(),
            old: old.map(value),
            new: new.cloned().map(value),
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
        prop::collection::vec((0u8..4, prop::option::of(0u8..3)), 0..60)
    }

    proptest! {
        #[test]
        fn what_is_told_fits_together_and_leads_to_what_is_set(
            events in events(),
            begin in 0usize..20,
            changes_only: bool,
        ) {
            let mut changes = ConfigChanges::new(changes_only);
            let mut store: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            let mut view: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (index, (path, value)) in events.into_iter().enumerate() {
                if index == begin {
                    changes.begin();
                    if changes_only {
                        prop_assert!(view.is_empty());
                        view = store.clone();
                    }
                }
                let (path, value) = (path.to_string(), value.map(|value| vec![value]));
                match &value {
                    Some(value) => store.insert(path.clone(), value.clone()),
                    None => store.remove(&path),
                };
                let Some(told) = changes.change(&path, value.as_ref()) else {
                    continue;
                };
                let bytes = |value: Option<ConfigValue>| value.map(ConfigValue::into_bytes);
                let (old, new) = (bytes(told.old), bytes(told.new));
                prop_assert_ne!(&old, &new);
                prop_assert_eq!(told.kind == ConfigChangeKind::Deleted, new.is_none());
                prop_assert_eq!(told.kind == ConfigChangeKind::Changed, old.is_some() && new.is_some());
                if told.kind == ConfigChangeKind::Present {
                    prop_assert!(index < begin && !changes_only);
                }
                let before = match new {
                    Some(new) => view.insert(told.path, new),
                    None => view.remove(&told.path),
                };
                prop_assert_eq!(before, old);
                if index >= begin || !changes_only {
                    prop_assert_eq!(&view, &store);
                }
            }
        }
    }
}
