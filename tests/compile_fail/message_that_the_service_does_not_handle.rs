use million::framework::{Handle, Message, Service};

struct Account;

impl Service for Account {}

struct Deposit;

impl Message for Deposit {
    type Reply = ();
}

fn pay(account: Handle<Account>) {
    let _ = account.try_send(Deposit);
}

fn main() {}
