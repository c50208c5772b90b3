use million::framework::{Cx, Handle, Handler, Message, Service};

struct Account;

impl Service for Account {}

struct Deposit;

impl Message for Deposit {
    type Reply = ();
}

struct Withdraw;

impl Message for Withdraw {
    type Reply = ();
}

impl Handler<Withdraw> for Account {
    async fn handle(_: &Cx<Self>, _: Withdraw) {}
}

struct Close;

impl Message for Close {
    type Reply = ();
}

impl Handler<Close> for Account {
    async fn handle(_: &Cx<Self>, _: Close) {}
}

fn pay(account: Handle<Account>) {
    let _ = account.call(Deposit);
}

fn main() {}
