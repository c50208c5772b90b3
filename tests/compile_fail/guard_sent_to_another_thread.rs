use million::framework::{Cx, Handler, Message, Service};

struct Account {
    balance: u64,
}

impl Service for Account {}

struct Audit;

impl Message for Audit {
    type Reply = ();
}

impl Handler<Audit> for Account {
    async fn handle(cx: &Cx<Self>, _: Audit) {
        let account = cx.state();
        std::thread::scope(|scope| {
            scope.spawn(move || account.balance);
        });
    }
}

fn main() {}
