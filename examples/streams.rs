//! Teaches streams: one that becomes messages of a service, and a reply that is one, both with backpressure.

use futures::{StreamExt, stream};
use million::framework::{
    Attached, BuildError, CallError, Cx, Handler, Message, Million, Replies, RepliesSender,
    Service, StartError, StreamEnd, replies,
};

/// Collects measurements from a stream and hands them out again.
#[derive(Default)]
struct Station {
    measured: Vec<u32>,
    complete: bool,
    sensor: Option<Attached>,
}

impl Service for Station {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        // Any stream: a socket, a file, a watch. It is polled only when the mailbox had room for its last item.
        let sensor = stream::iter(1..=1000).map(|step| step * step % 97);
        let sensor = cx.attach_until_end(sensor, Measured, SensorEnded);
        cx.state().sensor = Some(sensor);
        Ok(())
    }
}

struct Measured(u32);

impl Message for Measured {
    type Reply = ();
}

impl Handler<Measured> for Station {
    async fn handle(cx: &Cx<Self>, message: Measured) {
        cx.state().measured.push(message.0);
    }
}

struct SensorEnded(StreamEnd);

impl Message for SensorEnded {
    type Reply = ();
}

impl Handler<SensorEnded> for Station {
    async fn handle(cx: &Cx<Self>, message: SensorEnded) {
        cx.state().complete = message.0 == StreamEnd::Finished;
    }
}

struct IsComplete;

impl Message for IsComplete {
    type Reply = bool;
}

impl Handler<IsComplete> for Station {
    async fn handle(cx: &Cx<Self>, _: IsComplete) -> bool {
        cx.state().complete
    }
}

struct Export;

impl Message for Export {
    type Reply = Replies<u32>;
}

impl Handler<Export> for Station {
    async fn handle(cx: &Cx<Self>, _: Export) -> Replies<u32> {
        // The caller has the stream at once; another handler fills it while the service goes on.
        let (to, replies) = replies(16);
        cx.notify(Produce { to });
        replies
    }
}

struct Produce {
    to: RepliesSender<u32>,
}

impl Message for Produce {
    type Reply = ();
}

impl Handler<Produce> for Station {
    async fn handle(cx: &Cx<Self>, mut message: Produce) {
        let mut next = 0;
        loop {
            let Some(value) = cx.with(|station| station.measured.get(next).copied()) else {
                return message.to.finish();
            };
            if message.to.send(value).await.is_err() {
                return; // nobody reads any more
            }
            next += 1;
        }
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), BuildError> {
    let million = Million::builder().build()?;
    let station = million.spawn(Station::default());
    let shown: Result<(), CallError> = million.block_on(async {
        while !station.call(IsComplete).await? {}
        let mut export = station.call(Export).await?;
        let first: Vec<u32> = export.by_ref().take(5).collect().await;
        println!("the first five: {first:?}");
        let mut rest = 0;
        while export.next().await.is_some() {
            rest += 1;
        }
        println!("and {rest} more; the export is {:?}", export.outcome());
        Ok(())
    });
    if let Err(error) = shown {
        println!("the station does not answer: {error}");
    }
    Ok(())
}
