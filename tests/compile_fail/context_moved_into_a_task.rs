use million::framework::{Cx, Handler, Message, Service};

struct Account;

impl Service for Account {}

struct Audit;

impl Message for Audit {
    type Reply = ();
}

impl Handler<Audit> for Account {
    async fn handle(cx: &Cx<Self>, _: Audit) {
        tokio::spawn(async move {
            cx.stop();
        });
    }
}

fn main() {}
