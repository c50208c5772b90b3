//! A watcher of all keys that resumes after each restart where it had read to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use etcd_client::{Client, EventType, WatchOptions};

#[derive(Default)]
pub(crate) struct Watcher {
    /// The last revision that was seen whole.
    pub(crate) seen: AtomicI64,
}

/// What was heard: for each revision and key what it became.
pub(crate) type Heard = BTreeMap<(i64, String), Option<String>>;

impl Watcher {
    /// Adds to `heard` until the stream ends, and tells what was wrong with an event, if anything was.
    pub(crate) async fn run(&self, mut client: Client, heard: &mut Heard) -> Option<String> {
        let next = self.seen.load(Ordering::SeqCst) + 1;
        let all = WatchOptions::new()
            .with_all_keys()
            .with_start_revision(next);
        let Ok(mut stream) = client.watch(vec![0], Some(all)).await else {
            return None;
        };
        while let Ok(Some(response)) = stream.message().await {
            if response.canceled() {
                return Some(format!(
                    "the watch from {next} was canceled: {}, compacted {}",
                    response.cancel_reason(),
                    response.compact_revision()
                ));
            }
            let before = self.seen.load(Ordering::SeqCst);
            let mut last = before;
            for event in response.events() {
                let kv = event.kv().expect("an event has a key");
                let revision = kv.mod_revision();
                if revision <= before || revision < last {
                    return Some(format!("an event of {revision} came after {last}"));
                }
                last = revision;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
                let value = (event.event_type() == EventType::Put).then(|| text(kv.value()));
                if heard.insert((revision, text(kv.key())), value).is_some() {
                    return Some(format!("an event of {revision} came twice"));
                }
            }
            self.seen.store(last, Ordering::SeqCst);
        }
        None
    }
}
