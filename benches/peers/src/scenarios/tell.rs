//! Messages that nobody waits for, from one or four senders to one actor. A batch ends when the actor has handled all.

use std::sync::Arc;

use futures::FutureExt;

use super::rate::rate;
use super::spawn_all;
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Plan, Sample};
use crate::work::Add;

/// The most messages of a batch: what an unbounded mailbox may have to hold, some 50 MB with the widest envelope.
const MOST: u64 = 1_000_000;

pub(super) async fn run<L: Library>(library: L, plan: Plan, senders: u64) -> Sample {
    let gate = Arc::new(Gate::new());
    let actor = spawn_all(&library, &gate, 1).await.remove(0);
    rate(plan, MOST / senders, senders, move |rounds| {
        let (library, gate, actor) = (library.clone(), gate.clone(), actor.clone());
        async move {
            gate.expect(1);
            for sender in 0..senders {
                let actor = actor.clone();
                let send = async move {
                    for amount in 0..rounds {
                        let message = Add {
                            amount,
                            key: sender,
                            batch: rounds * senders,
                        };
                        L::tell(&actor, message).await;
                    }
                };
                library.task(send.boxed());
            }
            gate.passed().await;
        }
        .boxed()
    })
    .await
}
