//! Teaches how to find a race and see it again: the deterministic mode tries a test under many orders, each from a seed.
//!
//! An account looks at its balance, asks a bureau, and then writes the balance back: whatever was paid in meanwhile is
//! forgotten. Two deposits seldom meet like that, so an ordinary test passes for weeks. Here it is found within 1000
//! seeds, and happens again, step by step, under the seed that is printed.

use std::process::ExitCode;
use std::time::Duration;

use million::framework::{Cx, Handle, Handler, Message, Million, Service};

struct Bureau;

impl Service for Bureau {}

struct MayDeposit;

impl Message for MayDeposit {
    type Reply = bool;
}

impl Handler<MayDeposit> for Bureau {
    async fn handle(cx: &Cx<Self>, _: MayDeposit) -> bool {
        // Virtual time: it passes at once.
        cx.sleep(Duration::from_millis(20)).await;
        true
    }
}

struct Account {
    balance: u64,
    bureau: Handle<Bureau>,
    /// The planted bug, or its repair.
    careful: bool,
}

impl Service for Account {}

struct Deposit(u64);

impl Message for Deposit {
    type Reply = ();
}

impl Handler<Deposit> for Account {
    async fn handle(cx: &Cx<Self>, message: Deposit) {
        let (before, bureau) = cx.with(|account| (account.balance, account.bureau.clone()));
        if bureau.call(MayDeposit).await != Ok(true) {
            return;
        }
        let mut account = cx.state();
        account.balance = if account.careful {
            account.balance + message.0
        } else {
            before + message.0
        };
    }
}

struct Balance;

impl Message for Balance {
    type Reply = u64;
}

impl Handler<Balance> for Account {
    async fn handle(cx: &Cx<Self>, _: Balance) -> u64 {
        cx.state().balance
    }
}

/// The test: two customers deposit, each at some moment of the same second.
async fn two_deposits_are_both_kept(million: &Million, careful: bool) {
    let bureau = million.spawn(Bureau);
    let account = million.spawn(Account {
        balance: 0,
        bureau,
        careful,
    });
    let customer = async |amount| {
        let moment = Duration::from_millis(million.random() % 1000);
        million.sleep(moment).await;
        account.call(Deposit(amount)).await
    };
    let deposits = futures::join!(customer(30), customer(70));
    assert_eq!(deposits, (Ok(()), Ok(())));
    assert_eq!(account.call(Balance).await, Ok(100), "a deposit was lost");
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> ExitCode {
    let careless = async |million: &Million| two_deposits_are_both_kept(million, false).await;
    let Some(found) = Million::first_failure(0..1000, careless) else {
        println!("1000 seeds did not find the lost deposit");
        return ExitCode::FAILURE;
    };
    println!("found: {found}");

    let again = Million::first_failure([found.seed], careless);
    if again.as_ref() != Some(&found) {
        println!("it did not happen again in the same way: {again:?}");
        return ExitCode::FAILURE;
    }
    println!(
        "replayed: seed {} fails in the same way, with the same fingerprint {:#018x}",
        found.seed, found.trace_hash
    );

    // In a test of your own this one line is enough: it panics with the seed, and MILLION_SEED=… replays it.
    Million::explore(0..1000, async |million| {
        two_deposits_are_both_kept(million, true).await;
    });
    println!("repaired: it passes under 1000 seeds");
    ExitCode::SUCCESS
}
