//! tokio without any library: an actor is a task that owns its state and the receiver of an unbounded channel, a reply is a
//! oneshot. This is the floor on which ractor, kameo, xtra and coerce stand.
//!
//! A wait is programmed by hand, as one does: a task of its own waits and sends the rest of the work back to the actor.

use futures::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::run_on_tokio;
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// tokio with so many threads.
#[derive(Clone)]
pub(super) struct Tokio<const THREADS: usize>;

pub(super) enum Letter {
    Add(Add),
    Compute(Compute),
    Link(Link<Address>),
    Hop(Hop),
    Read(Read, oneshot::Sender<u64>),
    Wait(Wait, oneshot::Sender<u64>),
    Waited(Wait, oneshot::Sender<u64>),
}

/// A type of its own, for a channel of letters that hold senders of the channel needs a name.
#[derive(Clone)]
pub(super) struct Address(UnboundedSender<Letter>);

impl Address {
    fn send(&self, letter: Letter) {
        arrived(self.0.send(letter));
    }
}

impl<const THREADS: usize> Library for Tokio<THREADS> {
    type Address = Address;

    const WAITS_TOGETHER: bool = true;

    fn run(main: Main<Self>) -> Sample {
        run_on_tokio(THREADS, Self, main)
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    async fn spawn(&self, mut worker: Worker<Address>) -> Address {
        let (sender, mut mailbox) = unbounded_channel();
        // Weak, so that the actor ends when the last address of it is dropped.
        let me = sender.downgrade();
        tokio::spawn(async move {
            worker.started();
            while let Some(letter) = mailbox.recv().await {
                match letter {
                    Letter::Add(message) => worker.add(message),
                    Letter::Compute(message) => worker.compute(message),
                    Letter::Link(message) => worker.link(message),
                    Letter::Hop(message) => {
                        if let Some((next, hop)) = worker.hop(message) {
                            next.send(Letter::Hop(hop));
                        }
                    }
                    Letter::Read(message, reply) => arrived_reply(reply, worker.read(message)),
                    Letter::Wait(message, reply) => {
                        let me = me.clone();
                        tokio::spawn(async move {
                            sleep(WAIT).await;
                            if let Some(me) = me.upgrade() {
                                Address(me).send(Letter::Waited(message, reply));
                            }
                        });
                    }
                    Letter::Waited(message, reply) => arrived_reply(reply, worker.waited(message)),
                }
            }
        });
        Address(sender)
    }

    async fn tell(to: &Address, message: Add) {
        to.send(Letter::Add(message));
    }

    async fn compute(to: &Address, message: Compute) {
        to.send(Letter::Compute(message));
    }

    async fn link(to: &Address, message: Link<Address>) {
        to.send(Letter::Link(message));
    }

    async fn hop(to: &Address, message: Hop) {
        to.send(Letter::Hop(message));
    }

    async fn read(to: &Address, message: Read) -> u64 {
        let (reply, answer) = oneshot::channel();
        to.send(Letter::Read(message, reply));
        arrived(answer.await)
    }

    async fn wait(to: &Address, message: Wait) -> u64 {
        let (reply, answer) = oneshot::channel();
        to.send(Letter::Wait(message, reply));
        arrived(answer.await)
    }

    async fn stop(actor: Address) {
        drop(actor);
    }
}

fn arrived_reply(reply: oneshot::Sender<u64>, answer: u64) {
    arrived(reply.send(answer));
}
