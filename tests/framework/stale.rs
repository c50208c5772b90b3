//! Messages that have become stale while they waited are dropped instead of handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use million::framework::{Cx, Handler, Message, Options};

use crate::support::{Begun, Done, Pass, Recorder, gate, million, run};

struct Perishable {
    number: u32,
    gone: Arc<AtomicBool>,
}

impl Message for Perishable {
    type Reply = u32;

    fn is_stale(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Handler<Perishable> for Recorder {
    async fn handle(cx: &Cx<Self>, message: Perishable) -> u32 {
        cx.state().done.push(message.number);
        message.number
    }
}

#[test]
fn what_has_become_stale_in_the_mailbox_is_not_handled() {
    let million = million(2);
    let service = million.spawn_with(Options::new().max_in_flight(1), Recorder::default());
    let gate = gate();
    let gone = Arc::new(AtomicBool::new(false));
    run(&million, async {
        let fresh = Arc::new(AtomicBool::new(false));
        let pass = Pass {
            number: 0,
            gate: gate.clone(),
        };
        service.send(pass).await.unwrap();
        for number in 1..=4 {
            let gone = if number % 2 == 0 { &gone } else { &fresh };
            let gone = Arc::clone(gone);
            service.send(Perishable { number, gone }).await.unwrap();
        }
        gone.store(true, Ordering::Release);
        // One who waits for an answer gets it, stale or not.
        let number = 5;
        let asked = service.call(Perishable { number, gone });
        let (answer, ()) = futures::join!(asked, async { gate.add_permits(1) });
        assert_eq!(answer, Ok(5));
        assert_eq!(service.call(Done).await.unwrap(), [0, 1, 3, 5]);
        assert_eq!(service.call(Begun).await.unwrap(), [0]);
    });
}
