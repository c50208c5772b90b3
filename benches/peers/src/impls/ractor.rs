//! ractor: an actor has one message type, an enum; mailboxes are unbounded. Messages are cast, questions carry a reply port. The
//! mailbox stands still while a handler waits. An actor is stopped by `stop`.

use ::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, rpc::CallResult};
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::{WORKERS, run_on_tokio};
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// ractor with two tokio workers.
#[derive(Clone)]
pub(super) struct Ractor;

pub(super) enum Letter {
    Add(Add),
    Compute(Compute),
    Link(Link<ActorRef<Letter>>),
    Hop(Hop),
    Read(Read, RpcReplyPort<u64>),
    Wait(Wait, RpcReplyPort<u64>),
}

struct Behaviour;

impl Actor for Behaviour {
    type Msg = Letter;
    type State = Worker<ActorRef<Letter>>;
    type Arguments = Worker<ActorRef<Letter>>;

    async fn pre_start(
        &self,
        _: ActorRef<Letter>,
        worker: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        worker.started();
        Ok(worker)
    }

    async fn handle(
        &self,
        _: ActorRef<Letter>,
        letter: Letter,
        worker: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match letter {
            Letter::Add(message) => worker.add(message),
            Letter::Compute(message) => worker.compute(message),
            Letter::Link(message) => worker.link(message),
            Letter::Hop(message) => {
                if let Some((next, hop)) = worker.hop(message) {
                    next.cast(Letter::Hop(hop))?;
                }
            }
            Letter::Read(message, reply) => reply.send(worker.read(message))?,
            Letter::Wait(message, reply) => {
                sleep(WAIT).await;
                reply.send(worker.waited(message))?;
            }
        }
        Ok(())
    }
}

impl Library for Ractor {
    type Address = ActorRef<Letter>;

    const WAITS_TOGETHER: bool = false;

    fn run(main: Main<Self>) -> Sample {
        run_on_tokio(WORKERS, Self, main)
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    async fn spawn(&self, worker: Worker<ActorRef<Letter>>) -> ActorRef<Letter> {
        arrived(Actor::spawn(None, Behaviour, worker).await).0
    }

    async fn tell(to: &ActorRef<Letter>, message: Add) {
        arrived(to.cast(Letter::Add(message)));
    }

    async fn compute(to: &ActorRef<Letter>, message: Compute) {
        arrived(to.cast(Letter::Compute(message)));
    }

    async fn link(to: &ActorRef<Letter>, message: Link<ActorRef<Letter>>) {
        arrived(to.cast(Letter::Link(message)));
    }

    async fn hop(to: &ActorRef<Letter>, message: Hop) {
        arrived(to.cast(Letter::Hop(message)));
    }

    async fn read(to: &ActorRef<Letter>, message: Read) -> u64 {
        replied(arrived(
            to.call(|reply| Letter::Read(message, reply), None).await,
        ))
    }

    async fn wait(to: &ActorRef<Letter>, message: Wait) -> u64 {
        replied(arrived(
            to.call(|reply| Letter::Wait(message, reply), None).await,
        ))
    }

    async fn stop(actor: ActorRef<Letter>) {
        actor.stop(None);
    }
}

fn replied(result: CallResult<u64>) -> u64 {
    arrived(match result {
        CallResult::Success(answer) => Ok(answer),
        CallResult::Timeout => Err("a call timed out that has no time-out"),
        CallResult::SenderError => Err("the actor dropped a reply port"),
    })
}
