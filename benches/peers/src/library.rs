//! What a scenario needs of a library: [`Library`].

use std::fmt::Display;
use std::process::exit;

use futures::future::BoxFuture;

use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, Wait, Worker};

/// The measuring code of a scenario: it is given the library, running, and ends with what it measured.
pub type Main<L> = Box<dyn FnOnce(L) -> BoxFuture<'static, Sample> + Send>;

/// A library under measurement, as a cheap clone that spawns actors and tasks on it.
///
/// Everything runs on the library's own threads: the measuring task, the senders and callers ([`Library::task`]), and the
/// actors. Whatever is sent must arrive; if it does not, the sample fails (see [`arrived`]).
pub trait Library: Clone + Send + Sync + Sized + 'static {
    /// The way to an actor.
    type Address: Clone + Send + Sync + 'static;

    /// Whether an actor handles other messages while a handler of [`Wait`] waits. Where it does not, 10,000 waits of 10 ms would take
    /// 100 s, so fewer are measured and scaled up.
    const WAITS_TOGETHER: bool;

    /// Starts the library's threads, runs `main` on them, and returns what it measured.
    fn run(main: Main<Self>) -> Sample;

    /// Starts `work` beside the actors: a task, or what the library has in its place.
    fn task(&self, work: BoxFuture<'static, ()>);

    /// Starts an actor. It may start later, but [`Worker::started`] tells the gate.
    fn spawn(&self, worker: Worker<Self::Address>) -> impl Future<Output = Self::Address> + Send;

    /// Tells an actor [`Add`], waiting only where the mailbox is bounded.
    fn tell(to: &Self::Address, message: Add) -> impl Future<Output = ()> + Send;

    /// Tells an actor [`Compute`].
    fn compute(to: &Self::Address, message: Compute) -> impl Future<Output = ()> + Send;

    /// Tells an actor [`Link`].
    fn link(to: &Self::Address, message: Link<Self::Address>) -> impl Future<Output = ()> + Send;

    /// Tells an actor [`Hop`].
    fn hop(to: &Self::Address, message: Hop) -> impl Future<Output = ()> + Send;

    /// Asks an actor [`Read`].
    fn read(to: &Self::Address, message: Read) -> impl Future<Output = u64> + Send;

    /// Asks an actor [`Wait`].
    fn wait(to: &Self::Address, message: Wait) -> impl Future<Output = u64> + Send;

    /// Ends an actor in the library's usual way; the drop of its [`Worker`] tells when it has ended.
    fn stop(actor: Self::Address) -> impl Future<Output = ()> + Send;
}

/// The value of what must not fail in a benchmark. Otherwise the process ends with a sentence: it takes one sample only, and
/// a sample with lost messages is worth nothing.
pub fn arrived<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            eprintln!("a message or an actor was lost, so this sample is void: {error}");
            exit(1);
        }
    }
}
