//! Compaction while a watcher is cut off, again and again: its view equals the store each time.

use std::collections::BTreeMap;

use million::etcd_service::{Watch, WatchEvent, WatchKind, Watches};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::house::{Heard, House};

on_both!(after_each_of_200_compactions_the_view_equals_the_store);

const ROUNDS: usize = 200;

/// So many that a difference takes several parts of a listing and of a fetch.
const KEYS: usize = 100;

type View = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

struct Viewer {
    heard: Heard<WatchEvent>,
    view: View,
    last: i64,
    events: usize,
    relisted: usize,
}

impl Viewer {
    /// Hears what is told until the key has that value.
    async fn hear_until(&mut self, key: &[u8], value: &[u8]) {
        loop {
            let event = self.heard.next().await;
            self.events += 1;
            self.relisted += usize::from(event.relisted);
            if !event.snapshot {
                assert!(event.mod_revision >= self.last, "{event:?}");
                self.last = event.mod_revision;
            }
            let found = event.kind == WatchKind::Put && event.key == key && event.value == value;
            match event.kind {
                WatchKind::Put => {
                    let told = (event.value, event.mod_revision);
                    let before = self.view.insert(event.key, told);
                    let repeated = before.is_some_and(|(_, before)| before >= event.mod_revision);
                    assert!(!repeated, "told twice or backwards, at {}", self.last);
                }
                WatchKind::Delete => {
                    let before = self.view.remove(&event.key);
                    assert!(before.is_some(), "a delete of what was not there");
                }
                WatchKind::Synchronized => {}
                WatchKind::Refused => panic!("{event:?}"),
            }
            if found {
                return;
            }
        }
    }
}

async fn after_each_of_200_compactions_the_view_equals_the_store(house: &mut House) {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = house.outside().await;
    let (subscriber, heard) = house.collector();
    let watch = Watch::prefix("p/").to(subscriber);
    house.etcd.call(watch).await.unwrap().unwrap();
    let mut viewer = Viewer {
        heard,
        view: View::new(),
        last: 0,
        events: 0,
        relisted: 0,
    };
    client.put("p/round", "begin", None).await.unwrap();
    viewer.hear_until(b"p/round", b"begin").await;

    let (mut writes, mut equal, mut told_as_differences) = (0, 0, 0);
    for round in 0..ROUNDS {
        house.proxy.cut();
        let relisted_before = viewer.relisted;
        for _ in 0..random.random_range(1..60) {
            writes += 1;
            let key = format!("p/{}", random.random_range(0..KEYS));
            if random.random_ratio(1, 3) {
                client.delete(key, None).await.unwrap();
            } else {
                let value = random.random_range(0..1000).to_string();
                client.put(key, value, None).await.unwrap();
            }
        }
        let newest = client.put("p/touched", round.to_string(), None).await;
        let newest = newest.unwrap().header().unwrap().revision();
        // Sometimes what is compacted ends where the last change was, sometimes before it.
        let at = newest - i64::from(random.random_ratio(1, 2));
        client.compact(at, None).await.unwrap();
        house.proxy.mend();

        let mark = round.to_string();
        client.put("p/round", mark.as_bytes(), None).await.unwrap();
        viewer.hear_until(b"p/round", mark.as_bytes()).await;
        // That may have been told as a part of the difference: this is told after all of it.
        client.put("p/after", mark.as_bytes(), None).await.unwrap();
        viewer.hear_until(b"p/after", mark.as_bytes()).await;
        let options = etcd_client::GetOptions::new().with_prefix();
        let listed = client.get("p/", Some(options)).await.unwrap();
        let store: View = listed
            .kvs()
            .iter()
            .map(|pair| {
                let value = (pair.value().to_vec(), pair.mod_revision());
                (pair.key().to_vec(), value)
            })
            .collect();
        assert_eq!(viewer.view, store, "round {round}");
        equal += 1;
        told_as_differences += usize::from(viewer.relisted > relisted_before);
    }
    let statuses = house.etcd.call(Watches).await.unwrap().unwrap();
    println!(
        "{ROUNDS} compactions while cut off, {writes} writes: the view equalled the store {equal} times; {} events told, {} of them \
         found by listing again in {told_as_differences} rounds; listed again {} times",
        viewer.events, viewer.relisted, statuses[0].relisted
    );
    assert_eq!(equal, ROUNDS);
    assert!(
        told_as_differences >= ROUNDS * 9 / 10,
        "the watch was not behind the compactions"
    );
    assert_eq!(viewer.heard.rest(), []);
}
