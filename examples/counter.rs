//! Teaches the smallest service with a state, and how to test what it does: the law is plain code, the handler passes it on.

use futures::future::try_join_all;
use million::framework::{Cx, Handler, Message, Million, Service};

/// Counts up to a limit, and never past it.
struct Counter {
    count: u32,
    limit: u32,
}

impl Counter {
    /// Takes as many of `more` as the limit lets in, and returns how many those were.
    fn add(&mut self, more: u32) -> u32 {
        let taken = more.min(self.limit - self.count);
        self.count += taken;
        taken
    }
}

impl Service for Counter {}

struct Add(u32);

impl Message for Add {
    /// How many were taken.
    type Reply = u32;
}

impl Handler<Add> for Counter {
    async fn handle(cx: &Cx<Self>, Add(more): Add) -> u32 {
        cx.state().add(more)
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let million = Million::builder().build()?;
    let counter = million.spawn(Counter {
        count: 0,
        limit: 10,
    });
    let adding = try_join_all((0..4).map(|_| counter.call(Add(3))));
    println!("four times three, of ten: {:?}", million.block_on(adding)?);
    println!("one more: {}", counter.blocking_call(Add(1))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_takes_what_its_limit_lets_in() {
        for (count, more, taken) in [(0, 3, 3), (8, 3, 2), (10, 3, 0), (0, u32::MAX, 10)] {
            let mut counter = Counter { count, limit: 10 };
            assert_eq!(counter.add(more), taken, "{count} + {more}");
            assert_eq!(counter.count, count + taken);
        }
    }
}
