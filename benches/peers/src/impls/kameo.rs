//! kameo: an actor handles typed messages, each boxed; its mailbox is unbounded here or holds 1024, where 64 is the default. The mailbox
//! stands still while a handler waits. An actor is stopped by `stop_gracefully`.

use std::convert::Infallible;

use ::kameo::actor::{Actor as Kind, ActorRef, Spawn};
use ::kameo::mailbox::{bounded, unbounded};
use ::kameo::message::{Context, Message};
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::{MAILBOX, WORKERS, run_on_tokio};
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// kameo with two tokio workers, and mailboxes that are bounded or not.
#[derive(Clone)]
pub(super) struct Kameo<const BOUNDED: bool>;

pub(super) struct Actor(Worker<ActorRef<Actor>>);

impl Kind for Actor {
    type Args = Worker<ActorRef<Actor>>;
    type Error = Infallible;

    async fn on_start(worker: Self::Args, _: ActorRef<Self>) -> Result<Self, Infallible> {
        worker.started();
        Ok(Self(worker))
    }
}

impl Message<Add> for Actor {
    type Reply = ();

    async fn handle(&mut self, message: Add, _: &mut Context<Self, ()>) {
        self.0.add(message);
    }
}

impl Message<Compute> for Actor {
    type Reply = ();

    async fn handle(&mut self, message: Compute, _: &mut Context<Self, ()>) {
        self.0.compute(message);
    }
}

impl Message<Link<ActorRef<Actor>>> for Actor {
    type Reply = ();

    async fn handle(&mut self, message: Link<ActorRef<Actor>>, _: &mut Context<Self, ()>) {
        self.0.link(message);
    }
}

impl Message<Hop> for Actor {
    type Reply = ();

    async fn handle(&mut self, message: Hop, _: &mut Context<Self, ()>) {
        if let Some((next, hop)) = self.0.hop(message) {
            arrived(next.tell(hop).send().await);
        }
    }
}

impl Message<Read> for Actor {
    type Reply = u64;

    async fn handle(&mut self, message: Read, _: &mut Context<Self, u64>) -> u64 {
        self.0.read(message)
    }
}

impl Message<Wait> for Actor {
    type Reply = u64;

    async fn handle(&mut self, message: Wait, _: &mut Context<Self, u64>) -> u64 {
        sleep(WAIT).await;
        self.0.waited(message)
    }
}

impl<const BOUNDED: bool> Library for Kameo<BOUNDED> {
    type Address = ActorRef<Actor>;

    const WAITS_TOGETHER: bool = false;

    fn run(main: Main<Self>) -> Sample {
        run_on_tokio(WORKERS, Self, main)
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    async fn spawn(&self, worker: Worker<ActorRef<Actor>>) -> ActorRef<Actor> {
        let mailbox = match BOUNDED {
            true => bounded(MAILBOX),
            false => unbounded(),
        };
        Actor::spawn_with_mailbox(worker, mailbox)
    }

    async fn tell(to: &ActorRef<Actor>, message: Add) {
        arrived(to.tell(message).send().await);
    }

    async fn compute(to: &ActorRef<Actor>, message: Compute) {
        arrived(to.tell(message).send().await);
    }

    async fn link(to: &ActorRef<Actor>, message: Link<ActorRef<Actor>>) {
        arrived(to.tell(message).send().await);
    }

    async fn hop(to: &ActorRef<Actor>, message: Hop) {
        arrived(to.tell(message).send().await);
    }

    async fn read(to: &ActorRef<Actor>, message: Read) -> u64 {
        arrived(to.ask(message).send().await)
    }

    async fn wait(to: &ActorRef<Actor>, message: Wait) -> u64 {
        arrived(to.ask(message).send().await)
    }

    async fn stop(actor: ActorRef<Actor>) {
        arrived(actor.stop_gracefully().await);
    }
}
