//! Watches of an etcd whose data are replaced: by those of nobody here, as after a restore from a backup with the addresses of before.

use std::collections::BTreeMap;

use million::etcd_service::{Watch, WatchEvent, WatchKind, WatchState, Watches};

use crate::house::{Heard, House, until};

on_both!(
    what_is_there_after_the_data_were_replaced_is_told_as_a_difference,
    a_replacement_that_nothing_was_written_to_is_told_as_well,
);

type View = BTreeMap<String, String>;

fn view(pairs: &[(&str, &str)]) -> View {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Hears what is told until the view is that. Returns how many of it were found by listing again.
async fn hear_until(heard: &mut Heard<WatchEvent>, known: &mut View, wanted: &View) -> usize {
    let mut relisted = 0;
    while known != wanted {
        let event = heard.next().await;
        relisted += usize::from(event.relisted);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        match event.kind {
            WatchKind::Put => drop(known.insert(text(event.key), text(event.value))),
            WatchKind::Delete => drop(known.remove(&text(event.key))),
            WatchKind::Synchronized => {}
            WatchKind::Refused => panic!("{event:?}"),
        }
    }
    relisted
}

async fn watch(house: &House, prefix: &str) -> Heard<WatchEvent> {
    let (subscriber, mut heard) = house.collector();
    let watch = Watch::prefix(prefix).to(subscriber);
    house.etcd.call(watch).await.unwrap().unwrap();
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    heard
}

async fn put(house: &House, key: &str, value: &str) {
    house.outside().await.put(key, value, None).await.unwrap();
}

async fn what_is_there_after_the_data_were_replaced_is_told_as_a_difference(house: &mut House) {
    let mut busy = watch(house, "p/").await;
    let mut quiet = watch(house, "q/").await;
    put(house, "q/a", "1").await;
    let numbers: Vec<String> = (0..10).map(|number| format!("p/{number}")).collect();
    for key in &numbers {
        put(house, key, "old").await;
    }
    let (mut known, mut quietly) = (View::new(), View::new());
    let old: Vec<_> = numbers.iter().map(|key| (key.as_str(), "old")).collect();
    hear_until(&mut busy, &mut known, &view(&old)).await;
    hear_until(&mut quiet, &mut quietly, &view(&[("q/a", "1")])).await;
    for round in ["once", "again"] {
        house.replace_data().await;
        put(house, "p/3", round).await;
        let wanted = view(&[("p/3", round)]);
        let relisted = hear_until(&mut busy, &mut known, &wanted).await;
        assert!(relisted > 0, "what is gone is found by listing");
        hear_until(&mut quiet, &mut quietly, &View::new()).await;
        // And it goes on.
        put(house, "p/new", round).await;
        put(house, "q/a", round).await;
        let wanted = view(&[("p/3", round), ("p/new", round)]);
        hear_until(&mut busy, &mut known, &wanted).await;
        hear_until(&mut quiet, &mut quietly, &view(&[("q/a", round)])).await;
    }
    assert_eq!((busy.rest(), quiet.rest()), (Vec::new(), Vec::new()));
}

async fn a_replacement_that_nothing_was_written_to_is_told_as_well(house: &mut House) {
    let mut heard = watch(house, "p/").await;
    put(house, "p/k", "1").await;
    let mut known = View::new();
    hear_until(&mut heard, &mut known, &view(&[("p/k", "1")])).await;
    house.replace_data().await;
    hear_until(&mut heard, &mut known, &View::new()).await;
    until("it follows", async || {
        let watches = house.etcd.call(Watches).await.unwrap().unwrap();
        (watches[0].state, watches[0].behind) == (WatchState::Following, 0)
    })
    .await;
}
