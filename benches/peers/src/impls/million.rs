//! million: an actor is a service, and so are senders, callers and the measuring task, whose handlers run on the same workers.
//!
//! In the bounded form a mailbox holds 1024 messages, the default, and senders wait (`send().await`). In the other it holds more than
//! a batch has messages, and senders use `try_send`, as the unbounded mailboxes of the others do. Calls have their default time-out,
//! timers their default tick.

use futures::future::BoxFuture;
use million::framework::{Cx, Handle, Handler, Message, Options, Service, Services, StartError};
use tokio::sync::oneshot;

use super::WORKERS;
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// More than any scenario has under way.
const MAILBOX: u32 = 1 << 21;

/// As many handlers as wait at a time in the scenario of 10,000 calls.
const IN_FLIGHT: u32 = 10_000;

/// Two workers, mailboxes that no scenario fills.
pub(super) type Million = Adapter<WORKERS, false>;

/// One worker.
pub(super) type Million1 = Adapter<1, false>;

/// Two workers, mailboxes of 1024.
pub(super) type MillionBounded = Adapter<WORKERS, true>;

/// million with so many workers, and mailboxes that are small or not.
#[derive(Clone)]
pub(super) struct Adapter<const THREADS: usize, const BOUNDED: bool>(Services);

pub(super) struct Actor(Worker<Handle<Actor>>);

impl Service for Actor {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        cx.state().0.started();
        Ok(())
    }
}

impl Message for Add {
    type Reply = ();
}

impl Handler<Add> for Actor {
    async fn handle(cx: &Cx<Self>, message: Add) {
        cx.state().0.add(message);
    }
}

impl Message for Compute {
    type Reply = ();
}

impl Handler<Compute> for Actor {
    async fn handle(cx: &Cx<Self>, message: Compute) {
        cx.state().0.compute(message);
    }
}

impl Message for Link<Handle<Actor>> {
    type Reply = ();
}

impl Handler<Link<Handle<Actor>>> for Actor {
    async fn handle(cx: &Cx<Self>, message: Link<Handle<Actor>>) {
        cx.state().0.link(message);
    }
}

impl Message for Hop {
    type Reply = ();
}

impl Handler<Hop> for Actor {
    async fn handle(cx: &Cx<Self>, message: Hop) {
        // One token never fills a mailbox, however small.
        if let Some((next, hop)) = cx.state().0.hop(message) {
            arrived(next.try_send(hop));
        }
    }
}

impl Message for Read {
    type Reply = u64;
}

impl Handler<Read> for Actor {
    async fn handle(cx: &Cx<Self>, message: Read) -> u64 {
        cx.state().0.read(message)
    }
}

impl Message for Wait {
    type Reply = u64;
}

impl Handler<Wait> for Actor {
    async fn handle(cx: &Cx<Self>, message: Wait) -> u64 {
        cx.sleep(WAIT).await;
        cx.state().0.waited(message)
    }
}

/// A sender, a caller or the measuring task.
struct Task;

impl Service for Task {}

struct Work(BoxFuture<'static, ()>);

impl Message for Work {
    type Reply = ();
}

impl Handler<Work> for Task {
    async fn handle(cx: &Cx<Self>, work: Work) {
        work.0.await;
        cx.stop();
    }
}

fn start(services: &Services, work: BoxFuture<'static, ()>) {
    let sent = services.spawn(Task).try_send(Work(work));
    arrived(sent);
}

impl<const THREADS: usize, const BOUNDED: bool> Library for Adapter<THREADS, BOUNDED> {
    type Address = Handle<Actor>;

    const WAITS_TOGETHER: bool = true;

    fn run(main: Main<Self>) -> Sample {
        let million = arrived(
            million::framework::Million::builder()
                .workers(THREADS)
                .build(),
        );
        let (ended, hears) = oneshot::channel();
        let main = main(Self(million.services()));
        let work = async move {
            // Nobody but this very function hears it, and it waits.
            let _ = ended.send(main.await);
        };
        start(&million.services(), Box::pin(work));
        arrived(million.block_on(hears))
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        start(&self.0, work);
    }

    async fn spawn(&self, worker: Worker<Handle<Actor>>) -> Handle<Actor> {
        let options = Options::new().max_in_flight(IN_FLIGHT);
        let options = match BOUNDED {
            true => options,
            false => options.mailbox(MAILBOX),
        };
        self.0.spawn_with(options, Actor(worker))
    }

    async fn tell(to: &Handle<Actor>, message: Add) {
        match BOUNDED {
            true => arrived(to.send(message).await),
            false => arrived(to.try_send(message)),
        }
    }

    async fn compute(to: &Handle<Actor>, message: Compute) {
        arrived(to.try_send(message));
    }

    async fn link(to: &Handle<Actor>, message: Link<Handle<Actor>>) {
        arrived(to.try_send(message));
    }

    async fn hop(to: &Handle<Actor>, message: Hop) {
        arrived(to.try_send(message));
    }

    async fn read(to: &Handle<Actor>, message: Read) -> u64 {
        arrived(to.call(message).await)
    }

    async fn wait(to: &Handle<Actor>, message: Wait) -> u64 {
        arrived(to.call(message).await)
    }

    async fn stop(actor: Handle<Actor>) {
        drop(actor.stop());
    }
}
