//! Questions to one actor, by one caller or by 64 at the same time; each caller waits for its answer before it asks again.

use std::hint::black_box;
use std::sync::Arc;

use futures::FutureExt;

use super::rate::rate;
use super::spawn_all;
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Plan, Sample};
use crate::work::Read;

/// The most calls a caller makes in a batch.
const MOST: u64 = 1_000_000;

pub(super) async fn run<L: Library>(library: L, plan: Plan, callers: u64) -> Sample {
    let gate = Arc::new(Gate::new());
    let actor = spawn_all(&library, &gate, 1).await.remove(0);
    rate(plan, MOST, callers, move |rounds| {
        let (library, gate, actor) = (library.clone(), gate.clone(), actor.clone());
        async move {
            gate.expect(callers as usize);
            for caller in 0..callers {
                let (gate, actor) = (gate.clone(), actor.clone());
                let call = async move {
                    for key in 0..rounds {
                        let message = Read { key, salt: caller };
                        black_box(L::read(&actor, message).await);
                    }
                    gate.arrive();
                };
                library.task(call.boxed());
            }
            gate.passed().await;
        }
        .boxed()
    })
    .await
}
