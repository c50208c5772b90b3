//! Services that watch, and note all that they are told and when.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use million::etcd_service::{Etcd, Watch, WatchEvent, WatchKind};
use million::framework::{Cx, Handle, Handler, Million, Options, Service};

use crate::truth::Change;

/// A service that watches a prefix.
pub(crate) struct Watcher {
    pub(crate) prefix: String,
    notes: Arc<Mutex<Notes>>,
    _service: Handle<Listener>,
}

/// What a watcher was told.
#[derive(Default)]
pub(crate) struct Notes {
    /// The revision of its snapshot, once that was told.
    pub(crate) synchronized: Option<i64>,
    /// Each change after that, in the order in which it was told, and when.
    pub(crate) changes: Vec<(Instant, Change)>,
}

impl Watcher {
    /// Begins to watch `prefix`, with a mailbox for so many events.
    pub(crate) fn begin(
        million: &Million,
        etcd: &Handle<Etcd>,
        prefix: &str,
        mailbox: u32,
    ) -> Self {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let options = Options::new().mailbox(mailbox).max_in_flight(1);
        let service = million.spawn_with(options, Listener(Arc::clone(&notes)));
        let watch = Watch::prefix(prefix).to(service.recipient());
        let begun = million.block_on(etcd.call(watch));
        begun.unwrap().expect("a watch begins");
        Self {
            prefix: prefix.to_owned(),
            notes,
            _service: service,
        }
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Whether the snapshot has been told.
    pub(crate) fn is_synchronized(&self) -> bool {
        self.notes().synchronized.is_some()
    }

    /// The revision of the last change that was told; 0 before the first.
    pub(crate) fn last_revision(&self) -> i64 {
        let notes = self.notes();
        notes
            .changes
            .last()
            .map_or(0, |(_, change)| change.mod_revision)
    }

    /// The values told after the snapshot.
    pub(crate) fn values(&self) -> Vec<String> {
        let notes = self.notes();
        let values = notes.changes.iter().map(|(_, change)| &change.value);
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }
}

struct Listener(Arc<Mutex<Notes>>);
impl Service for Listener {}
impl Handler<WatchEvent> for Listener {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        let at = Instant::now();
        let listener = cx.state();
        let mut notes = listener.0.lock().unwrap();
        if event.kind == WatchKind::Synchronized {
            notes.synchronized = Some(event.mod_revision);
        } else if !event.snapshot {
            let deleted = event.kind == WatchKind::Delete;
            assert!(deleted || event.kind == WatchKind::Put, "{event:?}");
            let change = Change {
                deleted,
                key: event.key,
                value: event.value,
                mod_revision: event.mod_revision,
            };
            notes.changes.push((at, change));
        }
    }
}
