//! Leaders that are killed and stopped, again and again, under a steady load: nothing that was promised is lost.

use std::time::{Duration, Instant};

use etcd_client::GetOptions;
use million::etcd_service::Registration;

use crate::house::{DEADLINE, House, holds_within, until};
use crate::load::{Broken, Load, Outcome, Report};
use crate::truth::{Change, Difference, agreed_history, median};
use crate::watchers::Watcher;

const KILLS: usize = 50;
const PUTS_A_SECOND: u64 = 500;
const REGISTRATIONS: usize = 20;

/// Longer than it takes to leave a leader that stands still and find its successor, which gives each lease all its time anew; shorter than a
/// stopped member is left standing at worst.
const TTL: Duration = Duration::from_secs(5);

/// A stopped leader goes on when every watcher has heard of what its successor wrote, or after this long.
const LONGEST_STOP: Duration = Duration::from_secs(6);

/// What is not healed by then is counted as missing.
const HEAL_LIMIT: Duration = Duration::from_secs(30);

/// Heals that take longer are told one by one.
const SLOW: Duration = Duration::from_secs(5);

/// One leader that fell.
struct Fault {
    begun: Instant,
    stopped: bool,
    /// What is newer than this was written under its successor.
    revision: i64,
    missing_registrations: usize,
    deaf_watchers: usize,
}

#[test]
fn leaders_killed_and_stopped_under_load_lose_no_event_and_no_registration() {
    let kills = std::env::var("MILLION_KILLS").map_or(KILLS, |text| {
        text.parse().expect("MILLION_KILLS is a number")
    });
    let mut house = House::new();
    let etcds = [house.etcd(), house.etcd()];
    let watchers = begin_watchers(&house, &etcds);
    let registrations: Vec<Registration> = (0..REGISTRATIONS)
        .map(|number| house.register(&etcds[number % 2], &format!("registered/{number:02}"), TTL))
        .collect();
    let load = Load::start(&house.million, etcds.to_vec(), PUTS_A_SECOND);
    until("every watcher hears of the load", || {
        watchers.iter().all(|watcher| watcher.last_revision() > 1)
    });

    let faults: Vec<Fault> = (0..kills)
        .map(|round| fell_leader(&mut house, &watchers, round))
        .collect();

    let report = load.end(&house.million);
    house.cluster.wait_until_healthy();
    let happened = agreed_history(&house.cluster);
    let difference = compare(&watchers, &happened);
    let broken = report.compare(&happened);
    tell(
        &watchers,
        &faults,
        &report,
        &happened,
        difference,
        broken,
        &registrations,
    );

    assert_eq!(difference, Difference::default());
    assert_eq!(broken, Broken::default());
    assert_eq!(
        faults
            .iter()
            .map(|fault| fault.missing_registrations)
            .sum::<usize>(),
        0
    );
    assert_eq!(
        faults
            .iter()
            .map(|fault| fault.deaf_watchers)
            .sum::<usize>(),
        0
    );
    drop(registrations);
    house.end();
}

/// How often a registered key went with its lease.
fn lapsed(happened: &[Change]) -> usize {
    let gone = happened
        .iter()
        .filter(|change| change.deleted && change.key.starts_with(b"registered/"));
    gone.count()
}

/// 20 watchers of prefixes that overlap: 14 on the first service, 6 on the second; some with a small mailbox.
fn begin_watchers(
    house: &House,
    etcds: &[million::framework::Handle<million::etcd_service::Etcd>; 2],
) -> Vec<Watcher> {
    let all = ["", "load/", "l", ""].map(str::to_owned).into_iter();
    let groups = (0..10).map(|group| format!("load/{group}/"));
    let parts = (0..6).map(|group| format!("load/{group}/1"));
    let prefixes: Vec<String> = all.chain(groups).chain(parts).collect();
    let watchers: Vec<Watcher> = prefixes
        .iter()
        .enumerate()
        .map(|(number, prefix)| {
            let etcd = &etcds[usize::from(number % 3 == 2)];
            let mailbox = if number % 4 == 0 { 16 } else { 1024 };
            Watcher::begin(&house.million, etcd, prefix, mailbox)
        })
        .collect();
    until("every watch has told its snapshot", || {
        watchers.iter().all(Watcher::is_synchronized)
    });
    watchers
}

/// Kills the leader, or stops it, and waits until all is well again.
fn fell_leader(house: &mut House, watchers: &[Watcher], round: usize) -> Fault {
    let leader = house.cluster.wait_until_healthy();
    let stopped = round % 2 == 1;
    let begun = Instant::now();
    if stopped {
        house.cluster.pause(leader);
    } else {
        house.cluster.kill(leader);
    }
    house.cluster.wait_for_leader_after(leader);
    let revision = house.cluster.revision();
    let hear = |watcher: &&Watcher| watcher.last_revision() > revision;
    if stopped {
        holds_within(LONGEST_STOP, || {
            watchers.iter().all(|watcher| hear(&watcher))
        });
        house.cluster.resume(leader);
    } else {
        house.cluster.restart(leader);
    }
    holds_within(HEAL_LIMIT, || watchers.iter().all(|watcher| hear(&watcher)));
    let deaf_watchers = watchers.len() - watchers.iter().filter(hear).count();
    house.cluster.wait_until_healthy();
    let mut missing_registrations = REGISTRATIONS;
    holds_within(HEAL_LIMIT, || {
        missing_registrations = REGISTRATIONS - registered(house);
        missing_registrations == 0
    });
    Fault {
        begun,
        stopped,
        revision,
        missing_registrations,
        deaf_watchers,
    }
}

/// How many registered keys are there, under a lease.
fn registered(house: &House) -> usize {
    let mut member = house.cluster.raw(0);
    house.cluster.wait_for(async move {
        let options = GetOptions::new().with_prefix();
        let asking = member.get("registered/", Some(options));
        match tokio::time::timeout(DEADLINE, asking).await {
            Ok(Ok(found)) => found.kvs().iter().filter(|pair| pair.lease() != 0).count(),
            _ => 0,
        }
    })
}

fn compare(watchers: &[Watcher], happened: &[Change]) -> Difference {
    let mut sum = Difference::default();
    for watcher in watchers {
        let from = watcher
            .notes()
            .synchronized
            .expect("it has told its snapshot");
        let due = happened.iter().filter(|change| {
            change.mod_revision > from && change.key.starts_with(watcher.prefix.as_bytes())
        });
        let last = due
            .clone()
            .next_back()
            .map_or(0, |change| change.mod_revision);
        // What is still missing then is counted as lost.
        holds_within(HEAL_LIMIT, || watcher.last_revision() >= last);
        let notes = watcher.notes();
        let told = notes.changes.iter().map(|(_, change)| change);
        let difference = Difference::between(due, told);
        if difference != Difference::default() {
            println!("watcher of `{}`: {difference:?}", watcher.prefix);
        }
        sum.add(difference);
    }
    sum
}

fn tell(
    watchers: &[Watcher],
    faults: &[Fault],
    report: &Report,
    happened: &[Change],
    difference: Difference,
    broken: Broken,
    registrations: &[Registration],
) {
    let told: usize = watchers
        .iter()
        .map(|watcher| watcher.notes().changes.len())
        .sum();
    let rate = report.sent.len() as f64 / report.took.as_secs_f64();
    println!(
        "{} leaders fell ({} stopped, the others killed) in {:.0?}; {} puts, {rate:.0} a second: {} written, {} refused, {} unknown, {} left out",
        faults.len(),
        faults.iter().filter(|fault| fault.stopped).count(),
        report.took,
        report.sent.len(),
        report.written(),
        report.refused(),
        report.unknown(),
        report.left_out,
    );
    for (reason, count) in report.reasons() {
        println!("  {count} not acknowledged: {reason}");
    }
    println!(
        "{} watchers were told {told} events of {} changes",
        watchers.len(),
        happened.len()
    );
    println!(
        "events lost {}, duplicated {}, out of order {}, invented {}",
        difference.lost, difference.duplicated, difference.out_of_order, difference.invented
    );
    println!(
        "puts acknowledged and lost {}, refused and written {}, written twice {}",
        broken.acknowledged_and_lost, broken.refused_and_written, broken.written_twice
    );
    let missing: usize = faults.iter().map(|fault| fault.missing_registrations).sum();
    let lapsed = lapsed(happened);
    let regrants: u64 = registrations.iter().map(Registration::regrants).sum();
    println!(
        "registrations missing after heal {missing}; keys that went with their lease meanwhile {lapsed}, leases granted again {regrants}"
    );
    println!("longest gap in events: {:.2?}", longest_gap(watchers));
    for (what, stopped) in [("killed", false), ("stopped", true)] {
        let faults: Vec<&Fault> = faults
            .iter()
            .filter(|fault| fault.stopped == stopped)
            .collect();
        let heals: Vec<Vec<Duration>> = faults
            .iter()
            .map(|fault| time_to_heal(watchers, fault))
            .collect();
        for (heal, fault) in heals.iter().zip(&faults) {
            let slow = heal.iter().filter(|heal| **heal > SLOW).count();
            if slow > 0 {
                let when = fault.begun - faults[0].begun;
                println!(
                    "  a leader {what} at {when:.1?}: {slow} watchers took longer than {SLOW:?}"
                );
            }
        }
        let slowest: Vec<Duration> = heals
            .iter()
            .filter_map(|heal| heal.iter().max().copied())
            .collect();
        println!(
            "leader {what}: a watcher hears again after {:.2?} (median), all {} after {:.2?} (median), {:.2?} (longest); the first put is acknowledged after {:.2?} (median)",
            median(heals.concat()),
            watchers.len(),
            median(slowest.clone()),
            slowest.iter().max().copied().unwrap_or_default(),
            median(
                faults
                    .iter()
                    .filter_map(|fault| first_put_after(report, fault))
                    .collect()
            ),
        );
    }
}

fn longest_gap(watchers: &[Watcher]) -> Duration {
    let gaps = watchers.iter().map(|watcher| {
        let notes = watcher.notes();
        let pairs = notes.changes.iter().zip(notes.changes.iter().skip(1));
        pairs
            .map(|(one, next)| next.0 - one.0)
            .max()
            .unwrap_or_default()
    });
    gaps.max().unwrap_or_default()
}

/// How long it took until each watcher heard of something that was written after the fault.
fn time_to_heal(watchers: &[Watcher], fault: &Fault) -> Vec<Duration> {
    let first = |watcher: &Watcher| {
        let notes = watcher.notes();
        let mut later = notes
            .changes
            .iter()
            .filter(|(_, change)| change.mod_revision > fault.revision);
        later
            .next()
            .map(|(at, _)| at.saturating_duration_since(fault.begun))
    };
    watchers.iter().filter_map(first).collect()
}

fn first_put_after(report: &Report, fault: &Fault) -> Option<Duration> {
    let later = report.sent.iter().filter(|sent| match sent.outcome {
        Outcome::Written(revision) => revision > fault.revision,
        Outcome::Refused(_) | Outcome::Unknown(_) => false,
    });
    later
        .map(|sent| sent.answered.saturating_duration_since(fault.begun))
        .min()
}
