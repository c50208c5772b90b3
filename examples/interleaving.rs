//! Teaches what sets a service apart: while a handler awaits, the service goes on, and the compiler keeps its state safe.
//!
//! A teller asks a slow bureau before each payment. A thousand payments wait at the same time, and a question about the
//! balance is answered in between. No lock, and no race: the guard of the state cannot be held across an await.

use std::time::{Duration, Instant};

use futures::future::join_all;
use million::framework::{CallError, Cx, Handle, Handler, Message, Million, Service};

struct Bureau;

impl Service for Bureau {}

struct MayPay(u64);

impl Message for MayPay {
    type Reply = bool;
}

impl Handler<MayPay> for Bureau {
    async fn handle(cx: &Cx<Self>, message: MayPay) -> bool {
        cx.sleep(Duration::from_millis(50)).await;
        message.0 <= 10
    }
}

struct Teller {
    balance: u64,
    bureau: Handle<Bureau>,
}

impl Service for Teller {}

struct Pay(u64);

impl Message for Pay {
    type Reply = Result<u64, &'static str>;
}

impl Handler<Pay> for Teller {
    async fn handle(cx: &Cx<Self>, message: Pay) -> Result<u64, &'static str> {
        let bureau = cx.state().bureau.clone();
        match bureau.call(MayPay(message.0)).await {
            Ok(true) => {}
            Ok(false) => return Err("the bureau says no"),
            Err(_) => return Err("the bureau does not answer"),
        }
        // Others were served meanwhile, so the balance is looked at now and not before.
        let mut teller = cx.state();
        let left = teller.balance.checked_sub(message.0);
        teller.balance = left.ok_or("not enough money")?;
        Ok(teller.balance)
    }
}

struct Balance;

impl Message for Balance {
    type Reply = u64;
}

impl Handler<Balance> for Teller {
    async fn handle(cx: &Cx<Self>, _: Balance) -> u64 {
        cx.state().balance
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
#[allow(clippy::disallowed_methods, reason = "an example is its own host")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let million = Million::builder().build()?;
    let bureau = million.spawn(Bureau);
    let teller = million.spawn(Teller {
        balance: 500,
        bureau,
    });
    million.block_on(async {
        let begun = Instant::now();
        let payments = join_all((0..1000).map(|_| teller.call(Pay(1))));
        let question = async {
            let balance = teller.call(Balance).await?;
            println!("asked at once: {balance} after {:?}", begun.elapsed());
            Ok::<_, CallError>(())
        };
        let (payments, asked) = futures::join!(payments, question);
        asked?;
        let paid = payments
            .iter()
            .filter(|paid| matches!(paid, Ok(Ok(_))))
            .count();
        println!(
            "{paid} of 1000 payments of 1 went through, {:?} in all; left: {}",
            begun.elapsed(),
            teller.call(Balance).await?
        );
        Ok(())
    })
}
