//! The work that is the same for every library: the messages, and the actor that handles them.
//!
//! An adapter wraps [`Worker`] in whatever its library calls an actor, and passes each message to the method of the same name. So
//! all run the same logic on the same state (four words), and only the way from sender to handler differs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use crate::gate::Gate;

/// How long the handler of [`Wait`] waits.
pub const WAIT: Duration = Duration::from_millis(10);

/// Told: counts. Three words.
pub struct Add {
    /// Added to the sum.
    pub amount: u64,
    /// Added to the sum as well, so that no word of the message is dead weight for the optimiser to drop.
    pub key: u64,
    /// How many messages this actor is sent in all before it has to report.
    pub batch: u64,
}

/// Asked: the sum, changed by two words.
pub struct Read {
    /// Added to the answer.
    pub key: u64,
    /// Added to the answer.
    pub salt: u64,
}

/// Told: goes on to the next actor of the ring until `left` is 0.
pub struct Hop {
    /// How many hops are left.
    pub left: u64,
    /// Counted up at each hop.
    pub sum: u64,
    /// Which token this is.
    pub token: u64,
}

/// Told: who is next in the ring.
pub struct Link<A>(pub A);

/// Asked: waits [`WAIT`], then counts and answers.
pub struct Wait {
    /// Added to the sum after the wait.
    pub amount: u64,
    /// Added to the answer.
    pub salt: u64,
}

/// Told: computes for about a millisecond.
pub struct Compute {
    /// How many rounds of [`spin`].
    pub rounds: u64,
    /// Where it starts.
    pub seed: u64,
    /// As in [`Add`].
    pub batch: u64,
}

/// The state of every actor of every library. `A` is the library's address of one.
pub struct Worker<A> {
    left: u64,
    sum: u64,
    gate: Arc<Gate>,
    /// Boxed, so that the size of an address does not weigh on those whose addresses are wide.
    next: Option<Box<A>>,
}

impl<A> Worker<A> {
    /// A worker that reports to `gate`: when it starts, when it has handled a batch, and when it is dropped.
    pub fn new(gate: Arc<Gate>) -> Self {
        Self {
            left: 0,
            sum: 0,
            gate,
            next: None,
        }
    }

    /// To be called by the library's start hook.
    pub fn started(&self) {
        self.gate.arrive();
    }

    /// Handles [`Add`].
    pub fn add(&mut self, message: Add) {
        self.sum = self.sum.wrapping_add(message.amount ^ message.key);
        self.count(message.batch);
    }

    /// Handles [`Read`].
    pub fn read(&self, message: Read) -> u64 {
        self.sum
            .wrapping_add(message.key)
            .wrapping_add(message.salt)
    }

    /// Handles [`Link`].
    pub fn link(&mut self, message: Link<A>) {
        self.next = Some(Box::new(message.0));
        self.gate.arrive();
    }

    /// Handles [`Hop`]: whom to send what, unless this was the last hop.
    pub fn hop(&mut self, message: Hop) -> Option<(&A, Hop)> {
        self.sum = self.sum.wrapping_add(message.sum);
        match (&self.next, message.left) {
            (Some(next), 1..) => Some((
                next,
                Hop {
                    left: message.left - 1,
                    sum: message.sum + 1,
                    token: message.token,
                },
            )),
            _ => {
                self.gate.arrive();
                None
            }
        }
    }

    /// What is left of [`Wait`] after the wait.
    pub fn waited(&mut self, message: Wait) -> u64 {
        self.sum = self.sum.wrapping_add(message.amount);
        self.sum.wrapping_add(message.salt)
    }

    /// Handles [`Compute`].
    pub fn compute(&mut self, message: Compute) {
        self.sum = self.sum.wrapping_add(spin(message.rounds, message.seed));
        self.count(message.batch);
    }

    fn count(&mut self, batch: u64) {
        if self.left == 0 {
            self.left = batch;
        }
        self.left -= 1;
        if self.left == 0 {
            self.gate.arrive();
        }
    }
}

impl<A> Drop for Worker<A> {
    fn drop(&mut self) {
        self.gate.arrive();
    }
}

/// `rounds` steps of work that neither the compiler nor the processor can shorten, each depending on the one before.
pub fn spin(rounds: u64, seed: u64) -> u64 {
    let mut x = seed | 1;
    for _ in 0..rounds {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_reports_after_the_whole_batch_and_counts_the_next_anew() {
        let gate = Arc::new(Gate::new());
        let mut worker = Worker::<()>::new(gate.clone());
        for _ in 0..2 {
            gate.expect(1);
            for handled in 0..3 {
                assert!(!gate.is_open(), "after {handled} of 3");
                worker.add(Add {
                    amount: 1,
                    key: 0,
                    batch: 3,
                });
            }
            gate.passed().await;
        }
    }

    #[test]
    fn a_token_goes_on_until_no_hop_is_left() {
        let gate = Arc::new(Gate::new());
        gate.expect(2);
        let mut worker = Worker::new(gate.clone());
        worker.link(Link("next"));
        let hop = |left| Hop {
            left,
            sum: 0,
            token: 0,
        };
        let (next, sent) = worker.hop(hop(2)).expect("two hops are left");
        assert_eq!((*next, sent.left), ("next", 1));
        assert!(!gate.is_open());
        assert!(worker.hop(hop(0)).is_none());
        assert!(gate.is_open());
    }

    #[test]
    fn work_takes_longer_the_more_rounds_it_has() {
        assert_ne!(spin(1, 7), spin(2, 7));
    }
}
