//! tokio without any library, as in `tokio_unbounded`, with channels that hold 1024 letters and senders that wait for room.

use futures::future::BoxFuture;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{MAILBOX, WORKERS, run_on_tokio};
use crate::library::{Library, Main, arrived};
use crate::sample::Sample;
use crate::work::{Add, Compute, Hop, Link, Read, WAIT, Wait, Worker};

/// tokio with two workers.
#[derive(Clone)]
pub(super) struct Tokio;

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
pub(super) struct Address(Sender<Letter>);

impl Address {
    async fn send(&self, letter: Letter) {
        arrived(self.0.send(letter).await);
    }
}

impl Library for Tokio {
    type Address = Address;

    const WAITS_TOGETHER: bool = true;

    fn run(main: Main<Self>) -> Sample {
        run_on_tokio(WORKERS, Self, main)
    }

    fn task(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    async fn spawn(&self, mut worker: Worker<Address>) -> Address {
        let (sender, mut mailbox) = channel(MAILBOX);
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
                            next.send(Letter::Hop(hop)).await;
                        }
                    }
                    Letter::Read(message, reply) => arrived_reply(reply, worker.read(message)),
                    Letter::Wait(message, reply) => {
                        let me = me.clone();
                        tokio::spawn(async move {
                            sleep(WAIT).await;
                            if let Some(me) = me.upgrade() {
                                Address(me).send(Letter::Waited(message, reply)).await;
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
        to.send(Letter::Add(message)).await;
    }

    async fn compute(to: &Address, message: Compute) {
        to.send(Letter::Compute(message)).await;
    }

    async fn link(to: &Address, message: Link<Address>) {
        to.send(Letter::Link(message)).await;
    }

    async fn hop(to: &Address, message: Hop) {
        to.send(Letter::Hop(message)).await;
    }

    async fn read(to: &Address, message: Read) -> u64 {
        let (reply, answer) = oneshot::channel();
        to.send(Letter::Read(message, reply)).await;
        arrived(answer.await)
    }

    async fn wait(to: &Address, message: Wait) -> u64 {
        let (reply, answer) = oneshot::channel();
        to.send(Letter::Wait(message, reply)).await;
        arrived(answer.await)
    }

    async fn stop(actor: Address) {
        drop(actor);
    }
}

fn arrived_reply(reply: oneshot::Sender<u64>, answer: u64) {
    arrived(reply.send(answer));
}
