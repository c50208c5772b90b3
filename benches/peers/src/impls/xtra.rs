//! xtra: an actor handles typed messages, each boxed; its mailbox is unbounded here or holds 1024. A message is told by detaching the send,
//! and awaiting that. The mailbox stands still while a handler waits. An actor ends when its last address is dropped.

use ::xtra::{Address, Context, Handler, Mailbox, spawn_tokio};
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::{MAILBOX, WORKERS, run_on_tokio};
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// xtra with two tokio workers, and mailboxes that are bounded or not.
#[derive(Clone)]
pub(super) struct Xtra<const BOUNDED: bool>;

pub(super) struct Actor(Worker<Address<Actor>>);

impl ::xtra::Actor for Actor {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.0.started();
        Ok(())
    }

    async fn stopped(self) {}
}

impl Handler<Add> for Actor {
    type Return = ();

    async fn handle(&mut self, message: Add, _: &mut Context<Self>) {
        self.0.add(message);
    }
}

impl Handler<Compute> for Actor {
    type Return = ();

    async fn handle(&mut self, message: Compute, _: &mut Context<Self>) {
        self.0.compute(message);
    }
}

impl Handler<Link<Address<Actor>>> for Actor {
    type Return = ();

    async fn handle(&mut self, message: Link<Address<Actor>>, _: &mut Context<Self>) {
        self.0.link(message);
    }
}

impl Handler<Hop> for Actor {
    type Return = ();

    async fn handle(&mut self, message: Hop, _: &mut Context<Self>) {
        if let Some((next, hop)) = self.0.hop(message) {
            drop(arrived(next.send(hop).detach().await));
        }
    }
}

impl Handler<Read> for Actor {
    type Return = u64;

    async fn handle(&mut self, message: Read, _: &mut Context<Self>) -> u64 {
        self.0.read(message)
    }
}

impl Handler<Wait> for Actor {
    type Return = u64;

    async fn handle(&mut self, message: Wait, _: &mut Context<Self>) -> u64 {
        sleep(WAIT).await;
        self.0.waited(message)
    }
}

impl<const BOUNDED: bool> Library for Xtra<BOUNDED> {
    type Address = Address<Actor>;

    const WAITS_TOGETHER: bool = false;

    fn run(main: Main<Self>) -> Sample {
        run_on_tokio(WORKERS, Self, main)
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    async fn spawn(&self, worker: Worker<Address<Actor>>) -> Address<Actor> {
        let mailbox = match BOUNDED {
            true => Mailbox::bounded(MAILBOX),
            false => Mailbox::unbounded(),
        };
        spawn_tokio(Actor(worker), mailbox)
    }

    async fn tell(to: &Address<Actor>, message: Add) {
        drop(arrived(to.send(message).detach().await));
    }

    async fn compute(to: &Address<Actor>, message: Compute) {
        drop(arrived(to.send(message).detach().await));
    }

    async fn link(to: &Address<Actor>, message: Link<Address<Actor>>) {
        drop(arrived(to.send(message).detach().await));
    }

    async fn hop(to: &Address<Actor>, message: Hop) {
        drop(arrived(to.send(message).detach().await));
    }

    async fn read(to: &Address<Actor>, message: Read) -> u64 {
        arrived(to.send(message).await)
    }

    async fn wait(to: &Address<Actor>, message: Wait) -> u64 {
        arrived(to.send(message).await)
    }

    async fn stop(actor: Address<Actor>) {
        drop(actor);
    }
}
