//! One token round a ring of 1000 actors: what a message costs when nothing can be done in a batch.

use std::sync::Arc;

use futures::FutureExt;

use super::rate::rate;
use super::spawn_all;
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Plan, Sample};
use crate::work::{Hop, Link};

const ACTORS: usize = 1000;

/// The most hops of a batch.
const MOST: u64 = 10_000_000;

pub(super) async fn run<L: Library>(library: L, plan: Plan) -> Sample {
    let gate = Arc::new(Gate::new());
    let actors = spawn_all(&library, &gate, ACTORS).await;
    gate.expect(ACTORS);
    for (index, actor) in actors.iter().enumerate() {
        L::link(actor, Link(actors[(index + 1) % ACTORS].clone())).await;
    }
    gate.passed().await;
    let first = actors[0].clone();
    let sample = rate(plan, MOST, 1, move |hops| {
        let (gate, first) = (gate.clone(), first.clone());
        async move {
            gate.expect(1);
            let token = Hop {
                left: hops - 1,
                sum: 0,
                token: 0,
            };
            L::hop(&first, token).await;
            gate.passed().await;
        }
        .boxed()
    })
    .await;
    drop(actors);
    sample
}
