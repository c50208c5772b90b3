//! A great number of actors: how fast they are spawned and stopped, and what memory each takes.

use std::sync::Arc;

use super::{spawn_all, spawn_more};
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Sample, Stopwatch, resident_bytes};
use crate::work::Add;

const ACTORS: usize = 100_000;

/// Actors that are spawned and stopped before the clock starts.
const WARM_UP: usize = 1000;

/// How many actors are spawned at a time when memory is measured, so that the queues in which they wait for their start do not
/// count as theirs.
const WAVE: usize = 1000;

pub(super) async fn spawn<L: Library>(library: L) -> Sample {
    let gate = Arc::new(Gate::new());
    warm_up(&library, &gate).await;
    let watch = Stopwatch::start();
    let actors = spawn_all(&library, &gate, ACTORS).await;
    let sample = per_second(watch);
    drop(actors);
    sample
}

pub(super) async fn stop<L: Library>(library: L) -> Sample {
    let gate = Arc::new(Gate::new());
    warm_up(&library, &gate).await;
    let actors = spawn_all(&library, &gate, ACTORS).await;
    let watch = Stopwatch::start();
    stop_all::<L>(&gate, actors).await;
    per_second(watch)
}

/// The growth of resident memory by an actor and the address that is kept of it; if `used`, after each has handled one message.
pub(super) async fn bytes<L: Library>(library: L, used: bool) -> Sample {
    let gate = Arc::new(Gate::new());
    let mut actors = spawn_all(&library, &gate, 1).await;
    if used {
        tell_all::<L>(&gate, &actors).await;
    }
    actors.reserve(ACTORS);
    let watch = Stopwatch::start();
    let before = resident_bytes();
    for _ in 0..ACTORS / WAVE {
        let wave = actors.len();
        spawn_more(&library, &gate, &mut actors, WAVE).await;
        if used {
            tell_all::<L>(&gate, &actors[wave..]).await;
        }
    }
    let after = resident_bytes();
    let (_, waited) = watch.stop();
    drop(actors);
    Sample {
        value: after.saturating_sub(before) as f64 / ACTORS as f64,
        waited,
    }
}

async fn tell_all<L: Library>(gate: &Arc<Gate>, actors: &[L::Address]) {
    gate.expect(actors.len());
    for actor in actors {
        let message = Add {
            amount: 1,
            key: 0,
            batch: 1,
        };
        L::tell(actor, message).await;
    }
    gate.passed().await;
}

async fn warm_up<L: Library>(library: &L, gate: &Arc<Gate>) {
    let actors = spawn_all(library, gate, WARM_UP).await;
    stop_all::<L>(gate, actors).await;
}

async fn stop_all<L: Library>(gate: &Arc<Gate>, actors: Vec<L::Address>) {
    gate.expect(actors.len());
    for actor in actors {
        L::stop(actor).await;
    }
    gate.passed().await;
}

fn per_second(watch: Stopwatch) -> Sample {
    let (elapsed, waited) = watch.stop();
    Sample {
        value: ACTORS as f64 / elapsed.as_secs_f64(),
        waited,
    }
}
