//! What is compared: one adapter a library, each at the best form that its documentation shows.

mod actix;
mod coerce;
mod kameo;
mod kanal;
mod million;
mod ractor;
mod tokio_bounded;
mod tokio_unbounded;
mod xtra;

use std::fmt;

use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use crate::library::{Library, Main, arrived};
use crate::sample::{Plan, Sample};
use crate::scenarios::{self, Scenario};

/// How many threads run the actors of those that use several.
const WORKERS: usize = 2;

/// How many messages a bounded mailbox holds: as many as one of million by default.
const MAILBOX: usize = 1024;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Impl {
    /// million with two workers; the usual mailbox of 1024, `send().await`.
    #[value(name = "million")]
    Million,
    /// million with two workers; mailboxes too large to fill, `try_send`.
    #[value(name = "million_large")]
    MillionLarge,
    /// As `million`, with one worker.
    #[value(name = "million_1")]
    Million1,
    /// tokio: a task and an unbounded channel an actor, a oneshot a reply; two workers.
    #[value(name = "tokio")]
    Tokio,
    /// As `tokio`, on the runtime of one thread.
    #[value(name = "tokio@1t")]
    Tokio1,
    /// As `tokio`, with channels of 1024.
    #[value(name = "tokio_bounded")]
    TokioBounded,
    /// As `tokio`, with kanal's unbounded channels and oneshots.
    #[value(name = "kanal")]
    Kanal,
    /// actix, everything on one arbiter, so that nothing crosses a core; `do_send`, which no bound stops.
    #[value(name = "actix@1")]
    Actix1,
    /// actix, senders on one arbiter, actors on the other and this one in turn.
    #[value(name = "actix@2")]
    Actix2,
    /// ractor, whose mailboxes are unbounded.
    #[value(name = "ractor")]
    Ractor,
    /// kameo with unbounded mailboxes.
    #[value(name = "kameo")]
    Kameo,
    /// kameo with mailboxes of 1024.
    #[value(name = "kameo_bounded")]
    KameoBounded,
    /// xtra with unbounded mailboxes.
    #[value(name = "xtra")]
    Xtra,
    /// xtra with mailboxes of 1024.
    #[value(name = "xtra_bounded")]
    XtraBounded,
    /// coerce, whose mailboxes are unbounded.
    #[value(name = "coerce")]
    Coerce,
}

impl Impl {
    /// All of them, in the order of the tables.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As in the command line, the tables and the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Million => "million",
            Self::MillionLarge => "million_large",
            Self::Million1 => "million_1",
            Self::Tokio => "tokio",
            Self::Tokio1 => "tokio@1t",
            Self::TokioBounded => "tokio_bounded",
            Self::Kanal => "kanal",
            Self::Actix1 => "actix@1",
            Self::Actix2 => "actix@2",
            Self::Ractor => "ractor",
            Self::Kameo => "kameo",
            Self::KameoBounded => "kameo_bounded",
            Self::Xtra => "xtra",
            Self::XtraBounded => "xtra_bounded",
            Self::Coerce => "coerce",
        }
    }

    /// Whether this is million in one of its forms.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Million | Self::MillionLarge | Self::Million1)
    }

    /// Whether `scenario` is measured: `million_large` differs from `million` only where messages are sent, and the bounded forms of others
    /// are there for where many are sent to one actor.
    pub fn takes_part(self, scenario: Scenario) -> bool {
        match self {
            Self::MillionLarge => scenario.needs_mailbox(),
            Self::KameoBounded | Self::XtraBounded => scenario.crowds_one_mailbox(),
            _ => true,
        }
    }

    /// Whether the figure of `scenario` is scaled up from a smaller measurement.
    pub fn is_scaled_up(self, scenario: Scenario) -> bool {
        let together = match self {
            Self::Million => million::Million::WAITS_TOGETHER,
            Self::MillionLarge => million::MillionLarge::WAITS_TOGETHER,
            Self::Million1 => million::Million1::WAITS_TOGETHER,
            Self::Tokio | Self::Tokio1 => tokio_unbounded::Tokio::<1>::WAITS_TOGETHER,
            Self::TokioBounded => tokio_bounded::Tokio::WAITS_TOGETHER,
            Self::Kanal => kanal::Kanal::WAITS_TOGETHER,
            Self::Actix1 => actix::Actix1::WAITS_TOGETHER,
            Self::Actix2 => actix::Actix2::WAITS_TOGETHER,
            Self::Ractor => ractor::Ractor::WAITS_TOGETHER,
            Self::Kameo | Self::KameoBounded => kameo::Kameo::<true>::WAITS_TOGETHER,
            Self::Xtra | Self::XtraBounded => xtra::Xtra::<true>::WAITS_TOGETHER,
            Self::Coerce => coerce::Coerce::WAITS_TOGETHER,
        };
        scenario == Scenario::Waiting10k && !together
    }

    /// Takes one sample in this process.
    pub fn sample(self, scenario: Scenario, plan: Plan) -> Sample {
        match self {
            Self::Million => scenarios::run::<million::Million>(scenario, plan),
            Self::MillionLarge => scenarios::run::<million::MillionLarge>(scenario, plan),
            Self::Million1 => scenarios::run::<million::Million1>(scenario, plan),
            Self::Tokio => scenarios::run::<tokio_unbounded::Tokio<WORKERS>>(scenario, plan),
            Self::Tokio1 => scenarios::run::<tokio_unbounded::Tokio<1>>(scenario, plan),
            Self::TokioBounded => scenarios::run::<tokio_bounded::Tokio>(scenario, plan),
            Self::Kanal => scenarios::run::<kanal::Kanal>(scenario, plan),
            Self::Actix1 => scenarios::run::<actix::Actix1>(scenario, plan),
            Self::Actix2 => scenarios::run::<actix::Actix2>(scenario, plan),
            Self::Ractor => scenarios::run::<ractor::Ractor>(scenario, plan),
            Self::Kameo => scenarios::run::<kameo::Kameo<false>>(scenario, plan),
            Self::KameoBounded => scenarios::run::<kameo::Kameo<true>>(scenario, plan),
            Self::Xtra => scenarios::run::<xtra::Xtra<false>>(scenario, plan),
            Self::XtraBounded => scenarios::run::<xtra::Xtra<true>>(scenario, plan),
            Self::Coerce => scenarios::run::<coerce::Coerce>(scenario, plan),
        }
    }
}

impl fmt::Display for Impl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tokio runtime with `threads` workers; with one, the runtime that stays on the thread that blocks on it.
fn tokio_runtime(threads: usize) -> Runtime {
    let built = match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build(),
    };
    arrived(built)
}

/// [`Library::run`] for those that live on tokio: `main` is a task like any other.
fn run_on_tokio<L: Library>(threads: usize, library: L, main: Main<L>) -> Sample {
    let runtime = tokio_runtime(threads);
    runtime.block_on(async { arrived(tokio::spawn(main(library)).await) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One batch of the smallest size, without a warm-up.
    const SHORTEST: Plan = Plan {
        warm_up: Duration::ZERO,
        measure: Duration::from_nanos(1),
        batch: Duration::from_micros(1),
        rounds: 1000,
    };

    #[test]
    fn the_name_in_the_tables_is_the_name_on_the_command_line() {
        for implementation in Impl::all() {
            assert_eq!(
                Impl::from_str(implementation.name(), false),
                Ok(*implementation)
            );
        }
    }

    #[test]
    fn every_library_delivers_every_message_of_every_scenario() {
        let light = |scenario: &&Scenario| {
            !matches!(
                scenario,
                Scenario::Spawn | Scenario::Stop | Scenario::BytesIdle | Scenario::BytesUsed
            )
        };
        for implementation in Impl::all() {
            for scenario in Scenario::all().iter().filter(light) {
                let sample = implementation.sample(*scenario, SHORTEST);
                assert!(sample.value > 0.0, "{implementation} {scenario}");
            }
        }
    }

    #[test]
    fn ten_thousand_waits_together_take_no_hundred_seconds() {
        for implementation in [Impl::Million, Impl::Tokio, Impl::Actix1] {
            let sample = implementation.sample(Scenario::Waiting10k, SHORTEST);
            assert!(
                sample.value < 10_000.0,
                "{implementation}: {} ms",
                sample.value
            );
        }
    }
}
