//! What is measured: the [`Scenario`]s, each written once for every [`Library`].

mod call;
mod compute;
mod fanout;
mod population;
mod rate;
mod ring;
mod tell;
mod waiting;

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use futures::FutureExt;

use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Plan, Sample};
use crate::work::Worker;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Scenario {
    /// One sender tells one actor.
    #[value(name = "tell_1")]
    Tell1,
    /// Four senders tell one actor.
    #[value(name = "tell_4")]
    Tell4,
    /// One caller asks one actor, call after call.
    #[value(name = "call_1")]
    Call1,
    /// 64 callers ask one actor at the same time, each call after call.
    #[value(name = "call_64")]
    Call64,
    /// One token goes round 1000 actors.
    #[value(name = "ring_1000")]
    Ring1000,
    /// One sender tells 1000 actors in turn.
    #[value(name = "fanout_1000")]
    Fanout1000,
    /// 100,000 actors are spawned, until each has started.
    Spawn,
    /// 100,000 actors are stopped, until each has ended.
    Stop,
    /// Resident memory of an actor that has started and had no message.
    BytesIdle,
    /// Resident memory of an actor that has handled a message.
    BytesUsed,
    /// 10,000 calls at the same time to one actor whose handler waits 10 ms.
    #[value(name = "waiting_10k")]
    Waiting10k,
    /// Two actors compute for a millisecond a message.
    #[value(name = "compute_2")]
    Compute2,
}

impl Scenario {
    /// All of them, in the order of the tables.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As in the command line, the tables and the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tell1 => "tell_1",
            Self::Tell4 => "tell_4",
            Self::Call1 => "call_1",
            Self::Call64 => "call_64",
            Self::Ring1000 => "ring_1000",
            Self::Fanout1000 => "fanout_1000",
            Self::Spawn => "spawn",
            Self::Stop => "stop",
            Self::BytesIdle => "bytes_idle",
            Self::BytesUsed => "bytes_used",
            Self::Waiting10k => "waiting_10k",
            Self::Compute2 => "compute_2",
        }
    }

    /// As the heading of a chart.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tell1 => "tell, 1 sender",
            Self::Tell4 => "tell, 4 senders",
            Self::Call1 => "call, 1 caller",
            Self::Call64 => "call, 64 callers",
            Self::Ring1000 => "ring of 1000",
            Self::Fanout1000 => "fan-out to 1000",
            Self::Spawn => "spawn 100,000",
            Self::Stop => "stop 100,000",
            Self::BytesIdle => "memory of an idle actor",
            Self::BytesUsed => "memory of a used actor",
            Self::Waiting10k => "10,000 calls that wait 10 ms",
            Self::Compute2 => "two actors that compute 1 ms",
        }
    }

    /// What a figure counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Tell1 | Self::Tell4 | Self::Fanout1000 | Self::Compute2 => "messages/s",
            Self::Call1 | Self::Call64 => "calls/s",
            Self::Ring1000 => "hops/s",
            Self::Spawn | Self::Stop => "actors/s",
            Self::BytesIdle | Self::BytesUsed => "bytes",
            Self::Waiting10k => "ms",
        }
    }

    /// Whether the smaller figure is the better one.
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::BytesIdle | Self::BytesUsed | Self::Waiting10k)
    }

    /// Whether a bounded mailbox can make a difference here.
    pub fn needs_mailbox(self) -> bool {
        matches!(
            self,
            Self::Tell1
                | Self::Tell4
                | Self::Call1
                | Self::Call64
                | Self::Ring1000
                | Self::Fanout1000
        )
    }

    /// Whether many messages are under way to one actor.
    pub fn crowds_one_mailbox(self) -> bool {
        matches!(self, Self::Tell1 | Self::Tell4 | Self::Call64)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes one sample of `scenario` with the library `L`, in this process.
pub fn run<L: Library>(scenario: Scenario, plan: Plan) -> Sample {
    L::run(Box::new(move |library: L| match scenario {
        Scenario::Tell1 => tell::run(library, plan, 1).boxed(),
        Scenario::Tell4 => tell::run(library, plan, 4).boxed(),
        Scenario::Call1 => call::run(library, plan, 1).boxed(),
        Scenario::Call64 => call::run(library, plan, 64).boxed(),
        Scenario::Ring1000 => ring::run(library, plan).boxed(),
        Scenario::Fanout1000 => fanout::run(library, plan).boxed(),
        Scenario::Spawn => population::spawn(library).boxed(),
        Scenario::Stop => population::stop(library).boxed(),
        Scenario::BytesIdle => population::bytes(library, false).boxed(),
        Scenario::BytesUsed => population::bytes(library, true).boxed(),
        Scenario::Waiting10k => waiting::run(library).boxed(),
        Scenario::Compute2 => compute::run(library, plan).boxed(),
    }))
}

/// Spawns `count` actors that report to `gate`, and waits until all have started.
async fn spawn_all<L: Library>(library: &L, gate: &Arc<Gate>, count: usize) -> Vec<L::Address> {
    let mut actors = Vec::with_capacity(count);
    spawn_more(library, gate, &mut actors, count).await;
    actors
}

/// Spawns `count` more actors, and waits until they have started.
async fn spawn_more<L: Library>(
    library: &L,
    gate: &Arc<Gate>,
    actors: &mut Vec<L::Address>,
    count: usize,
) {
    gate.expect(count);
    for _ in 0..count {
        actors.push(library.spawn(Worker::new(gate.clone())).await);
    }
    gate.passed().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_the_tables_is_the_name_on_the_command_line() {
        for scenario in Scenario::all() {
            assert_eq!(Scenario::from_str(scenario.name(), false), Ok(*scenario));
        }
    }
}
