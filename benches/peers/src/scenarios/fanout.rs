//! One sender tells 1000 actors in turn. A batch ends when all have handled all.

use std::sync::Arc;

use futures::FutureExt;

use super::rate::rate;
use super::spawn_all;
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Plan, Sample};
use crate::work::Add;

const ACTORS: usize = 1000;

/// The most messages an actor is sent in a batch.
const MOST: u64 = 1000;

pub(super) async fn run<L: Library>(library: L, plan: Plan) -> Sample {
    let gate = Arc::new(Gate::new());
    let actors = Arc::new(spawn_all(&library, &gate, ACTORS).await);
    rate(plan, MOST, ACTORS as u64, move |rounds| {
        let (library, gate, actors) = (library.clone(), gate.clone(), actors.clone());
        async move {
            gate.expect(ACTORS);
            let send = async move {
                for amount in 0..rounds {
                    for actor in actors.iter() {
                        let message = Add {
                            amount,
                            key: 0,
                            batch: rounds,
                        };
                        L::tell(actor, message).await;
                    }
                }
            };
            library.task(send.boxed());
            gate.passed().await;
        }
        .boxed()
    })
    .await
}
