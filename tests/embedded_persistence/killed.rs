//! `kill -9` at random moments under load.
//!
//! `MILLION_KILLS` sets how often, `MILLION_SEED` repeats a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::watcher::{Heard, Watcher};
use crate::workload::Writer;
use crate::{connect, in_time, start};

const KILLS: u64 = 100;
const WRITERS: i64 = 16;

/// Small enough that the file is written anew again and again, also while it is killed.
const REWRITE_BYTES: &str = "100000";

/// How long it runs between two kills, at most.
const LONGEST_RUN: Duration = Duration::from_millis(500);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    acknowledged: u64,
    lost: u64,
    events: usize,
    events_missing: usize,
    wrong: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_a_hundred_kills() {
    let seed = setting("MILLION_SEED").unwrap_or_else(rand::random);
    let kills = setting("MILLION_KILLS").unwrap_or(KILLS);
    println!("seed {seed}: repeat with MILLION_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut writers: Vec<_> = (1..=WRITERS)
        .map(|number| Writer::new(number, StdRng::seed_from_u64(seed ^ number.unsigned_abs())))
        .collect();
    let watcher = Watcher::default();
    let mut heard = Heard::new();
    let mut figures = Figures::default();
    let mut cluster = None;
    let mut slowest_start = Duration::ZERO;

    while figures.kills < kills {
        let began = Instant::now();
        let (process, address) = start(folder.path(), &["--rewrite-bytes", REWRITE_BYTES]);
        let mut client = connect(&address).await;
        slowest_start = slowest_start.max(began.elapsed());
        let highest = writers.iter().map(|writer| writer.highest).max();
        let highest = highest.max(Some(watcher.seen.load(std::sync::atomic::Ordering::SeqCst)));
        check(
            &mut client,
            &mut writers,
            highest.unwrap_or(0),
            &mut cluster,
            &mut figures,
        )
        .await;

        let run = Duration::from_secs_f64(LONGEST_RUN.as_secs_f64() * chance.random::<f64>());
        let running: Vec<_> = std::mem::take(&mut writers)
            .into_iter()
            .map(|writer| tokio::spawn(writer.run(client.clone())))
            .collect();
        let killing = async {
            tokio::time::sleep(run).await;
            drop(process);
        };
        let watch_client = connect(&address).await;
        let (fault, ()) =
            in_time(async { tokio::join!(watcher.run(watch_client, &mut heard), killing) }).await;
        figures.wrong.extend(fault);
        for writer in running {
            writers.push(in_time(writer).await.expect("a writer does not panic"));
        }
        figures.kills += 1;
    }

    let (process, address) = start(folder.path(), &[]);
    let mut client = connect(&address).await;
    check(&mut client, &mut writers, 0, &mut cluster, &mut figures).await;
    catch_up(&mut client, &watcher, &mut heard, process, &mut figures).await;
    for (revision, key) in writers.iter().flat_map(|writer| &writer.revisions) {
        if !heard.contains_key(&(*revision, key.clone())) {
            figures.events_missing += 1;
        }
    }
    figures.events = heard.len();
    figures.acknowledged = writers.iter().map(|writer| writer.acknowledged).sum();
    println!(
        "kills {}, acknowledged writes {}, lost {}, events {}, missing {}, slowest start {} ms",
        figures.kills,
        figures.acknowledged,
        figures.lost,
        figures.events,
        figures.events_missing,
        slowest_start.as_millis()
    );
    assert_eq!(figures.wrong, Vec::<String>::new());
    assert_eq!((figures.lost, figures.events_missing), (0, 0));
    // However slow the disk is: kills without load would show nothing.
    assert!(figures.acknowledged > kills, "{figures:?}");
}

/// What every restart must bring back.
async fn check(
    client: &mut Client,
    writers: &mut [Writer],
    highest: i64,
    cluster: &mut Option<(u64, u64)>,
    figures: &mut Figures,
) {
    let status = in_time(client.get("none", None)).await.expect("it answers");
    let header = status.header().expect("every answer has a header");
    if header.revision() < highest {
        figures.wrong.push(format!(
            "revision {highest} was told, and then {}",
            header.revision()
        ));
    }
    let ids = (header.cluster_id(), header.member_id());
    if *cluster.get_or_insert(ids) != ids {
        figures.wrong.push(format!("the ids changed to {ids:?}"));
    }
    for writer in writers {
        if let Some(wrong) = in_time(writer.check(client)).await {
            figures.lost += wrong.lost;
            figures.wrong.push(wrong.text);
        }
    }
}

/// Lets the watcher read the rest, and compares what it made of all events with what is there.
async fn catch_up(
    client: &mut Client,
    watcher: &Watcher,
    heard: &mut Heard,
    process: crate::process::Process,
    figures: &mut Figures,
) {
    let all = GetOptions::new().with_all_keys();
    let last = client.put("last", "x", None).await.expect("it is written");
    let last = last.header().expect("every answer has a header").revision();
    let there = client.get(vec![0], Some(all)).await.expect("it answers");
    let there: BTreeMap<String, String> = there
        .kvs()
        .iter()
        .map(|kv| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
            (text(kv.key()), text(kv.value()))
        })
        .collect();
    let until_last = async {
        while watcher.seen.load(std::sync::atomic::Ordering::SeqCst) < last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(process);
    };
    let (fault, ()) =
        in_time(async { tokio::join!(watcher.run(client.clone(), heard), until_last) }).await;
    figures.wrong.extend(fault);
    let mut made = BTreeMap::new();
    for ((_, key), value) in heard.iter() {
        match value {
            Some(value) => made.insert(key.clone(), value.clone()),
            None => made.remove(key),
        };
    }
    if made != there {
        figures
            .wrong
            .push(format!("watched {made:?}\nfound {there:?}"));
    }
}
