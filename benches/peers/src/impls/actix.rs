//! actix: actors, senders, callers and the measuring task live on arbiters, which are threads.
//!
//! On one arbiter nothing ever crosses a core. On two, the tasks live on the first and actors on the second and the first in turn, so
//! that an actor alone sits across from its sender. Messages are told with `do_send`, which passes by the mailbox's bound; calls
//! respect it, so it is raised from 16 to 1024. A wait is a `ResponseActFuture`, which lets other messages in and gives the state back
//! after it. An actor ends when its last address is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::actix::{
    Actor as _, ActorFutureExt, Addr, Arbiter, ArbiterHandle, Context, Handler, Message,
    MessageResult, ResponseActFuture, System, WrapFuture,
};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// How many calls a mailbox holds: as many as that of million by default.
const MAILBOX: usize = 1024;

/// actix on the arbiter of the system.
#[derive(Clone)]
pub(super) struct Actix1;

/// actix on two arbiters.
#[derive(Clone)]
pub(super) struct Actix2 {
    arbiters: [ArbiterHandle; 2],
    spawned: Arc<AtomicUsize>,
}

pub(super) struct Actor(Worker<Addr<Actor>>);

impl ::actix::Actor for Actor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        self.0.started();
    }
}

impl Message for Add {
    type Result = ();
}

impl Handler<Add> for Actor {
    type Result = ();

    fn handle(&mut self, message: Add, _: &mut Context<Self>) {
        self.0.add(message);
    }
}

impl Message for Compute {
    type Result = ();
}

impl Handler<Compute> for Actor {
    type Result = ();

    fn handle(&mut self, message: Compute, _: &mut Context<Self>) {
        self.0.compute(message);
    }
}

impl Message for Link<Addr<Actor>> {
    type Result = ();
}

impl Handler<Link<Addr<Actor>>> for Actor {
    type Result = ();

    fn handle(&mut self, message: Link<Addr<Actor>>, _: &mut Context<Self>) {
        self.0.link(message);
    }
}

impl Message for Hop {
    type Result = ();
}

impl Handler<Hop> for Actor {
    type Result = ();

    fn handle(&mut self, message: Hop, _: &mut Context<Self>) {
        if let Some((next, hop)) = self.0.hop(message) {
            next.do_send(hop);
        }
    }
}

impl Message for Read {
    type Result = u64;
}

impl Handler<Read> for Actor {
    type Result = MessageResult<Read>;

    fn handle(&mut self, message: Read, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.read(message))
    }
}

impl Message for Wait {
    type Result = u64;
}

impl Handler<Wait> for Actor {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, message: Wait, _: &mut Context<Self>) -> Self::Result {
        let wait = sleep(WAIT).into_actor(self);
        Box::pin(wait.map(|(), actor, _| actor.0.waited(message)))
    }
}

impl Library for Actix1 {
    type Address = Addr<Actor>;

    const WAITS_TOGETHER: bool = true;

    fn run(main: Main<Self>) -> Sample {
        System::new().block_on(main(Self))
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        ::actix::spawn(work);
    }

    async fn spawn(&self, worker: Worker<Addr<Actor>>) -> Addr<Actor> {
        Actor(worker).start()
    }

    async fn tell(to: &Addr<Actor>, message: Add) {
        to.do_send(message);
    }

    async fn compute(to: &Addr<Actor>, message: Compute) {
        to.do_send(message);
    }

    async fn link(to: &Addr<Actor>, message: Link<Addr<Actor>>) {
        to.do_send(message);
    }

    async fn hop(to: &Addr<Actor>, message: Hop) {
        to.do_send(message);
    }

    async fn read(to: &Addr<Actor>, message: Read) -> u64 {
        arrived(to.send(message).await)
    }

    async fn wait(to: &Addr<Actor>, message: Wait) -> u64 {
        arrived(to.send(message).await)
    }

    async fn stop(actor: Addr<Actor>) {
        drop(actor);
    }
}

impl Library for Actix2 {
    type Address = Addr<Actor>;

    const WAITS_TOGETHER: bool = true;

    fn run(main: Main<Self>) -> Sample {
        System::new().block_on(async {
            let arbiters = [Arbiter::new(), Arbiter::new()];
            let library = Self {
                arbiters: [arbiters[0].handle(), arbiters[1].handle()],
                spawned: Arc::new(AtomicUsize::new(0)),
            };
            let (ended, hears) = oneshot::channel();
            let main = main(library);
            arbiters[0].spawn(async move {
                // Nobody but this very function hears it, and it waits.
                let _ = ended.send(main.await);
            });
            arrived(hears.await)
        })
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        self.arbiters[0].spawn(work);
    }

    async fn spawn(&self, worker: Worker<Addr<Actor>>) -> Addr<Actor> {
        let place = self.spawned.fetch_add(1, Ordering::Relaxed) + 1;
        Actor::start_in_arbiter(&self.arbiters[place % 2], |_| Actor(worker))
    }

    async fn tell(to: &Addr<Actor>, message: Add) {
        to.do_send(message);
    }

    async fn compute(to: &Addr<Actor>, message: Compute) {
        to.do_send(message);
    }

    async fn link(to: &Addr<Actor>, message: Link<Addr<Actor>>) {
        to.do_send(message);
    }

    async fn hop(to: &Addr<Actor>, message: Hop) {
        to.do_send(message);
    }

    async fn read(to: &Addr<Actor>, message: Read) -> u64 {
        arrived(to.send(message).await)
    }

    async fn wait(to: &Addr<Actor>, message: Wait) -> u64 {
        arrived(to.send(message).await)
    }

    async fn stop(actor: Addr<Actor>) {
        drop(actor);
    }
}
