//! Two actors that compute for a millisecond a message: whether two workers do twice the work of one.

use std::sync::Arc;

use futures::FutureExt;

use super::rate::rate;
use super::spawn_all;
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Plan, Sample};
use crate::work::Compute;

const ACTORS: usize = 2;

/// The most messages an actor is sent in a batch: less than a bounded mailbox holds.
const MOST: u64 = 500;

pub(super) async fn run<L: Library>(library: L, plan: Plan) -> Sample {
    let gate = Arc::new(Gate::new());
    let actors = Arc::new(spawn_all(&library, &gate, ACTORS).await);
    // Long batches: where the two begin and end apart by a millisecond, a short one would show half of a core idle.
    let plan = Plan {
        batch: plan.batch * 4,
        ..plan
    };
    rate(plan, MOST, ACTORS as u64, move |messages| {
        let (gate, actors) = (gate.clone(), actors.clone());
        async move {
            gate.expect(ACTORS);
            for actor in actors.iter() {
                for seed in 0..messages {
                    let message = Compute {
                        rounds: plan.rounds,
                        seed,
                        batch: messages,
                    };
                    L::compute(actor, message).await;
                }
            }
            gate.passed().await;
        }
        .boxed()
    })
    .await
}
