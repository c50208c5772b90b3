//! Teaches typed events: whoever publishes does not know who listens, and a question to all is answered in order of priority.

use million::framework::{BuildError, Cx, Handler, Message, Million, Service};

/// A price is about to change. Each subscriber may have a say.
#[derive(Clone)]
struct PriceChange {
    article: &'static str,
    cents: u32,
}

impl Message for PriceChange {
    type Reply = Verdict;
}

#[derive(Debug)]
#[allow(dead_code, reason = "it is printed as it is")]
enum Verdict {
    Fine,
    TooCheap { least: u32 },
}

struct Auditor {
    least: u32,
}

impl Service for Auditor {}

impl Handler<PriceChange> for Auditor {
    async fn handle(cx: &Cx<Self>, change: PriceChange) -> Verdict {
        let least = cx.state().least;
        if change.cents < least {
            return Verdict::TooCheap { least };
        }
        Verdict::Fine
    }
}

struct Label {
    text: String,
}

impl Service for Label {}

impl Handler<PriceChange> for Label {
    async fn handle(cx: &Cx<Self>, change: PriceChange) -> Verdict {
        cx.state().text = format!("{} {} cents", change.article, change.cents);
        Verdict::Fine
    }
}

struct Text;

impl Message for Text {
    type Reply = String;
}

impl Handler<Text> for Label {
    async fn handle(cx: &Cx<Self>, _: Text) -> String {
        cx.state().text.clone()
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), BuildError> {
    let million = Million::builder().build()?;
    let events = million.events();
    let label = million.spawn(Label {
        text: String::new(),
    });
    let auditor = million.spawn(Auditor { least: 100 });
    events.subscribe::<PriceChange>(&label, 0);
    let audit = events.subscribe::<PriceChange>(&auditor, 10); // is asked before the label
    million.block_on(async {
        for cents in [199, 49] {
            let article = "tea";
            let said = events.publish_and_collect(PriceChange { article, cents });
            for said in said.await {
                println!("service {} says {:?}", said.service, said.reply);
            }
        }
        audit.cancel();
        let article = "coffee";
        let report = events.publish(PriceChange { article, cents: 5 }).await;
        println!("told {}, missed by {}", report.told, report.missed.len());
        println!("the label reads {:?}", label.call(Text).await);
    });
    Ok(())
}
