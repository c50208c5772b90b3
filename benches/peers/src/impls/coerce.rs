//! coerce: an actor handles typed messages, each boxed; mailboxes are unbounded. Actors are anonymous, so no registry is told of
//! them. The mailbox stands still while a handler waits. An actor is stopped by `notify_stop`.

use ::coerce::actor::context::ActorContext;
use ::coerce::actor::message::{Handler, Message};
use ::coerce::actor::system::ActorSystem;
use ::coerce::actor::{Actor as Kind, LocalActorRef};
use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::{WORKERS, tokio_runtime};
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// coerce with two tokio workers.
#[derive(Clone)]
pub(super) struct Coerce(ActorSystem);

pub(super) struct Actor(Worker<LocalActorRef<Actor>>);

#[async_trait]
impl Kind for Actor {
    async fn started(&mut self, _: &mut ActorContext) {
        self.0.started();
    }
}

impl Message for Add {
    type Result = ();
}

#[async_trait]
impl Handler<Add> for Actor {
    async fn handle(&mut self, message: Add, _: &mut ActorContext) {
        self.0.add(message);
    }
}

impl Message for Compute {
    type Result = ();
}

#[async_trait]
impl Handler<Compute> for Actor {
    async fn handle(&mut self, message: Compute, _: &mut ActorContext) {
        self.0.compute(message);
    }
}

impl Message for Link<LocalActorRef<Actor>> {
    type Result = ();
}

#[async_trait]
impl Handler<Link<LocalActorRef<Actor>>> for Actor {
    async fn handle(&mut self, message: Link<LocalActorRef<Actor>>, _: &mut ActorContext) {
        self.0.link(message);
    }
}

impl Message for Hop {
    type Result = ();
}

#[async_trait]
impl Handler<Hop> for Actor {
    async fn handle(&mut self, message: Hop, _: &mut ActorContext) {
        if let Some((next, hop)) = self.0.hop(message) {
            arrived(next.notify(hop));
        }
    }
}

impl Message for Read {
    type Result = u64;
}

#[async_trait]
impl Handler<Read> for Actor {
    async fn handle(&mut self, message: Read, _: &mut ActorContext) -> u64 {
        self.0.read(message)
    }
}

impl Message for Wait {
    type Result = u64;
}

#[async_trait]
impl Handler<Wait> for Actor {
    async fn handle(&mut self, message: Wait, _: &mut ActorContext) -> u64 {
        sleep(WAIT).await;
        self.0.waited(message)
    }
}

impl Library for Coerce {
    type Address = LocalActorRef<Actor>;

    const WAITS_TOGETHER: bool = false;

    fn run(main: Main<Self>) -> Sample {
        let runtime = tokio_runtime(WORKERS);
        runtime.block_on(async {
            let library = Self(ActorSystem::new());
            arrived(tokio::spawn(main(library)).await)
        })
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    async fn spawn(&self, worker: Worker<LocalActorRef<Actor>>) -> LocalActorRef<Actor> {
        arrived(self.0.new_anon_actor(Actor(worker)).await)
    }

    async fn tell(to: &LocalActorRef<Actor>, message: Add) {
        arrived(to.notify(message));
    }

    async fn compute(to: &LocalActorRef<Actor>, message: Compute) {
        arrived(to.notify(message));
    }

    async fn link(to: &LocalActorRef<Actor>, message: Link<LocalActorRef<Actor>>) {
        arrived(to.notify(message));
    }

    async fn hop(to: &LocalActorRef<Actor>, message: Hop) {
        arrived(to.notify(message));
    }

    async fn read(to: &LocalActorRef<Actor>, message: Read) -> u64 {
        arrived(to.send(message).await)
    }

    async fn wait(to: &LocalActorRef<Actor>, message: Wait) -> u64 {
        arrived(to.send(message).await)
    }

    async fn stop(actor: LocalActorRef<Actor>) {
        arrived(actor.notify_stop());
    }
}
