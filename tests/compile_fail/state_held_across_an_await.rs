use million::framework::{Cx, Handler, Message, Service};

struct Account {
    balance: u64,
}

impl Service for Account {}

struct Deposit(u64);

impl Message for Deposit {
    type Reply = u64;
}

impl Handler<Deposit> for Account {
    async fn handle(cx: &Cx<Self>, message: Deposit) -> u64 {
        let mut account = cx.state();
        cx.sleep(std::time::Duration::from_millis(1)).await;
        account.balance += message.0;
        account.balance
    }
}

fn main() {}
