//! The deterministic mode: any interleaving, drawn from a seed, that can be had again.
//!
//! [`Million::deterministic`] makes a [`Million`] without threads. Its services, its timers and the futures given to
//! [`Cx::io`](super::Cx::io) run on whichever thread waits for something ([`Million::block_on`],
//! [`Handle::blocking_call`](super::Handle::blocking_call) and the like), one step at a time. Which of those that are ready
//! makes the next step, and how many messages a service starts in it, is drawn from the seed: so thousands of seeds are
//! thousands of interleavings, and the same seed is the same interleaving, step by step.
//!
//! [`Million::explore`] tries a test under many seeds, and names the one under which it fails:
//!
//! ```should_panic
//! use million::framework::{Cx, Handler, Message, Million, Service};
//! use std::time::Duration;
//!
//! struct Account { balance: u64 }
//! impl Service for Account {}
//!
//! struct Deposit(u64);
//! impl Message for Deposit { type Reply = (); }
//!
//! impl Handler<Deposit> for Account {
//!     async fn handle(cx: &Cx<Self>, message: Deposit) {
//!         let balance = cx.state().balance;
//!         cx.io(async {}).await; // others deposit meanwhile …
//!         cx.state().balance = balance + message.0; // … and this forgets them
//!     }
//! }
//!
//! struct Balance;
//! impl Message for Balance { type Reply = u64; }
//! impl Handler<Balance> for Account {
//!     async fn handle(cx: &Cx<Self>, _: Balance) -> u64 { cx.state().balance }
//! }
//!
//! // Panics: "seed … fails: … To see it again alone, set MILLION_SEED=…".
//! Million::explore(0..1000, async |million| {
//!     let account = million.spawn(Account { balance: 0 });
//!     let (first, second) = futures::join!(account.call(Deposit(1)), account.call(Deposit(2)));
//!     first.and(second).expect("the account lives");
//!     assert_eq!(account.call(Balance).await, Ok(3));
//! });
//! ```
//!
//! # Time
//!
//! Time is virtual: it stands still while anything is ready, and then leaps to the next timer. A sleep of ten hours takes
//! no time at all, and a call timeout fires exactly when nothing else can happen before it. The clock is
//! [`Services::now`], the timers are [`Cx::sleep`](super::Cx::sleep), [`Services::sleep`], timeouts of calls, and messages that are sent later;
//! chance is [`Services::random`]. Code that asks the machine's clock or another generator does not replay.
//!
//! # What cannot go on is found
//!
//! - When nothing is ready and no timer is left within a year of virtual time, nothing can ever happen again. Then the wait
//!   panics, says which services are alive and how many handlers wait in them, and the `Million` is at its end.
//! - A wait of more than ten million steps panics too ([`Builder::most_steps`](super::Builder::most_steps) says otherwise): that is a loop which never
//!   sleeps, two services that answer each other for ever, or a wait that never ends beside a periodic message. A turn, a poll and a leap of the clock
//!   are a step each.
//!
//! # What is not covered
//!
//! - Sockets, files and `tokio::time`: there is no tokio runtime. A future that needs one panics, and its waiter hears
//!   [`IoError::Panicked`](super::IoError::Panicked). Channels and locks of tokio or futures, which need none, work.
//! - A tokio runtime round it: there it refuses to be driven, because what yields to that runtime would never be resumed.
//! - What other threads do: a `Million` that runs on several threads, or a thread of your own, that talks to services here
//!   makes the result depend on the machine again, and what waits for it seems to hang.
//! - Interleavings inside a handler, between two awaits: a turn is not interrupted. Services share nothing but messages, so
//!   this matters only for what they share besides.
//! - The iteration order of a `HashMap` differs from run to run; code under test that depends on it does not replay.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use tokio::runtime;

use super::builder::Builder;
use super::doing::Doing;
use super::error::panic_text;
use super::hang;
use super::runtime::Million;
use super::services::Services;
use super::simulation::{Busy, Draw, Simulation};
use super::tools::Tools;

/// The environment variable with which [`Million::explore`] replays one seed.
const SEED_VARIABLE: &str = "MILLION_SEED";

/// A test that sleeps this long means to sleep for ever. Also keeps the search for the next timer short.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 3600);

impl Million {
    /// A `Million` in the [deterministic mode](crate::framework::deterministic): no threads, virtual time, and an order drawn from
    /// `seed`. [`Builder::deterministic`] has more to set.
    ///
    /// ```
    /// use million::framework::Million;
    /// use std::time::Duration;
    ///
    /// let million = Million::deterministic(7);
    /// let begun = million.now();
    /// million.block_on(million.sleep(Duration::from_secs(36_000)));
    /// assert_eq!(million.now() - begun, Duration::from_secs(36_000));
    /// ```
    pub fn deterministic(seed: u64) -> Self {
        Builder::new().deterministic(seed)
    }

    /// Runs `test` once for each of `seeds`, each time with a new deterministic `Million`.
    ///
    /// With the environment variable `MILLION_SEED` it runs that seed alone, once, whatever `seeds` are.
    ///
    /// # Panics
    ///
    /// When the test panics under a seed: the text names the seed, tells how to replay it, and repeats what the test
    /// said. Also when `MILLION_SEED` is not a number.
    #[track_caller]
    pub fn explore(seeds: impl IntoIterator<Item = u64>, test: impl AsyncFn(&Self)) {
        let failure = match std::env::var(SEED_VARIABLE) {
            Err(_) => Self::first_failure(seeds, test),
            Ok(text) => match text.trim().parse() {
                Ok(seed) => Self::first_failure([seed], test),
                Err(error) => panic!(
                    "{SEED_VARIABLE} is {text:?}, which is not a seed: {error}; give it the number that a failing test printed"
                ),
            },
        };
        if let Some(failure) = failure {
            panic!("{failure}");
        }
    }

    /// As [`Million::explore`], but returns the first failure, and does not look at the environment: for tests of tests.
    pub fn first_failure(
        seeds: impl IntoIterator<Item = u64>,
        test: impl AsyncFn(&Self),
    ) -> Option<Failure> {
        seeds.into_iter().find_map(|seed| {
            let million = Self::deterministic(seed);
            // The test ends with the panic; the Million that it leaves behind is only dropped.
            let outcome = catch_unwind(AssertUnwindSafe(|| million.block_on(test(&million))));
            let trace_hash = million.trace_hash().unwrap_or_default();
            outcome.err().map(|panic| Failure {
                seed,
                trace_hash,
                text: panic_text(&*panic),
            })
        })
    }

    /// The seed of a deterministic `Million`; `None` for one with threads.
    pub fn seed(&self) -> Option<u64> {
        let simulation = self.services.environment().simulation()?;
        Some(simulation.seed())
    }

    /// A fingerprint of every choice that was made so far: who ran, for how many messages, and when time went on. Two runs with
    /// the same fingerprint were the same. `None` for a `Million` with threads.
    pub fn trace_hash(&self) -> Option<u64> {
        let simulation = self.services.environment().simulation()?;
        Some(simulation.trace())
    }
}

/// A test that panicked under a seed. Made by [`Million::first_failure`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Under this seed it fails again.
    pub seed: u64,
    /// [`Million::trace_hash`] at the moment of the panic; a replay has the same.
    pub trace_hash: u64,
    /// What the test said.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {seed} fails: {text}\nTo see it again alone, set {SEED_VARIABLE}={seed}.",
            seed = self.seed,
            text = self.text
        )
    }
}

/// Tells that the future which is waited for can go on.
struct Main(AtomicBool);

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs the simulation on this thread until `future` is ready. `what` names the method that waits.
pub(crate) fn wait<F: Future>(
    what: &str,
    services: &Services,
    simulation: &Simulation,
    future: F,
) -> F::Output {
    assert!(
        runtime::Handle::try_current().is_err(),
        "{what} on a deterministic Million inside a tokio runtime, whose own yields and timers would not replay: use a plain \
         test instead of a tokio::test"
    );
    let _driving = Driving::begin(what, services, simulation);
    let main = Arc::new(Main(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&main));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut tools = Tools::new(Arc::new(Doing::nothing()));
    let last_step = simulation.steps().saturating_add(simulation.most_steps());
    loop {
        match simulation.draw(main.0.load(Ordering::Acquire)) {
            Draw::Main => {
                main.0.store(false, Ordering::Release);
                if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                    return output;
                }
            }
            Draw::Turn(task, messages) => {
                tools.messages_a_turn = messages;
                tools.stand_at(simulation.ticks());
                if let Some(again) = simulation.turn(|| task.run(&mut tools)) {
                    simulation.schedule(again);
                }
            }
            Draw::Task(task) => task.run(simulation),
            Draw::Nothing => {
                if !pass_time(services, simulation, &main, last_step) {
                    hang::nothing_can_go_on(what, services, simulation, LONGEST_TIME);
                }
            }
        }
        if simulation.steps() >= last_step {
            hang::too_many_steps(what, services, simulation);
        }
    }
}

/// Lets time pass until something is ready or there were too many steps. `false`: nothing ever will be ready.
fn pass_time(services: &Services, simulation: &Simulation, main: &Main, last_step: u64) -> bool {
    let timers = services.timers();
    let last = simulation.elapsed() + LONGEST_TIME;
    loop {
        timers.fire_due();
        // A periodic message that waits for its last copy to be handled makes nothing ready, however often its time comes.
        let too_many = simulation.steps() >= last_step;
        if too_many || simulation.is_ready() || main.0.load(Ordering::Acquire) {
            return true;
        }
        let next = timers.next_look();
        if !next.is_some_and(|moment| simulation.advance(moment, last)) {
            return false;
        }
    }
}

/// While it lives, this thread drives the simulation.
struct Driving<'a> {
    services: &'a Services,
    simulation: &'a Simulation,
}

impl<'a> Driving<'a> {
    fn begin(what: &str, services: &'a Services, simulation: &'a Simulation) -> Self {
        match simulation.begin(thread::current().id()) {
            Ok(()) => {}
            Err(Busy::InStep) => panic!(
                "{what} would block the one thread of a deterministic Million: inside a handler or an IO future await the async form instead"
            ),
            Err(Busy::OtherThread) => panic!(
                "{what} on a deterministic Million that another thread is driving: give each thread a Million of its own"
            ),
        }
        Self {
            services,
            simulation,
        }
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        if self.simulation.finish() {
            end(self.services, self.simulation);
        }
    }
}

/// The `Million` is dropped: kills its services and drops its IO futures; at once, or if it is dropped in the middle of
/// a step, when whoever drives has come to an end.
pub(crate) fn end(services: &Services, simulation: &Simulation) {
    drop(services.close());
    services.kill_all();
    if simulation.begin(thread::current().id()).is_err() {
        simulation.abandon();
        return;
    }
    run_killed(simulation, || ());
    services.forget_all();
    services.timers().close();
    simulation.close();
    // Nobody is to clean up a second time: the simulation is over.
    let _ = simulation.finish();
}

/// Gives services that were killed the turn in which they end, and calls `ended` after each.
pub(crate) fn run_killed(simulation: &Simulation, mut ended: impl FnMut()) {
    let mut tools = Tools::new(Arc::new(Doing::nothing()));
    loop {
        let turns = simulation.take_turns();
        if turns.is_empty() {
            return;
        }
        for turn in turns {
            if let Some(again) = simulation.turn(|| turn.run(&mut tools)) {
                simulation.schedule(again);
            }
            ended();
        }
    }
}
