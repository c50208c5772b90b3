//! Teaches what becomes of services that fail: they come back under the same handle, alone or with those that rely on them,
//! and a supervisor that gives up says why.

use std::time::Duration;

use million::framework::{
    Cx, Handle, Handler, Message, Million, Restart, Service, StartError, Strategy,
};

/// A parser that cannot bear odd numbers.
struct Parser {
    parsed: u32,
}

impl Service for Parser {}

struct Parse(u32);

impl Message for Parse {
    type Reply = u32;
}

impl Handler<Parse> for Parser {
    async fn handle(cx: &Cx<Self>, Parse(number): Parse) -> u32 {
        assert!(number % 2 == 0, "{number} is odd");
        let mut parser = cx.state();
        parser.parsed += 1;
        parser.parsed
    }
}

/// Relies on a parser, and says when it starts.
struct Reader {
    parser: Handle<Parser>,
    starts: u32,
}

impl Service for Reader {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let parser = cx.with(|reader| reader.parser.clone());
        parser.call(Parse(0)).await?;
        Ok(())
    }
}

struct Starts;

impl Message for Starts {
    type Reply = u32;
}

impl Handler<Starts> for Reader {
    async fn handle(cx: &Cx<Self>, _: Starts) -> u32 {
        cx.state().starts
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The panic hook would print each panic with its place; here the handlers' ends are shown instead.
    std::panic::set_hook(Box::new(|_| ()));
    let million = Million::builder().build()?;

    // Alone: the state is new after a failure; handle and mailbox are the same.
    let restart = Restart::new()
        .backoff(Duration::from_millis(20), Duration::from_secs(1))
        .limit(2, Duration::from_secs(60));
    let parser = million.supervise(|| Parser { parsed: 0 }, restart);
    for number in [2, 4, 5, 6] {
        match parser.blocking_call(Parse(number)) {
            Ok(count) => println!("{number}: parsed, number {count} of this life"),
            Err(error) => println!("{number}: {error}"),
        }
    }

    // A group: when the parser fails, the reader, which relies on it, starts anew after it.
    let mut group = million.supervise_group(Strategy::RestForOne, restart);
    let shared = group.add(|| Parser { parsed: 0 });
    let reader = {
        let (parser, mut starts) = (shared.clone(), 0);
        group.add(move || {
            starts += 1;
            Reader {
                parser: parser.clone(),
                starts,
            }
        })
    };
    let group = group.start();
    println!("the reader's start: {}", reader.blocking_call(Starts)?);
    let _ = shared.blocking_call(Parse(1));
    while reader.blocking_call(Starts).is_ok_and(|starts| starts < 2) {}
    println!("after the parser failed: {}", reader.blocking_call(Starts)?);
    println!("the group: {}", million.block_on(group.stop()));

    // Too many failures: the supervisor gives up.
    while parser.blocking_call(Parse(7)) != Err(million::framework::CallError::Closed) {}
    println!("the first parser: {}", million.block_on(parser.closed()));
    Ok(())
}
