//! A worker that goes to sleep against one that is being told.

use std::sync::Arc;

use crate::loom::sync::atomic::{AtomicBool, Ordering};
use crate::loom::thread;

use crate::framework::parker::Parker;
use crate::model;

#[test]
fn a_wake_before_or_during_the_park_is_not_lost() {
    model(3, || {
        let parker = Arc::new(Parker::new());
        let told = Arc::new(AtomicBool::new(false));
        let teller = {
            let (parker, told) = (parker.clone(), told.clone());
            thread::spawn(move || {
                told.store(true, Ordering::Release);
                parker.unpark();
            })
        };
        while !told.load(Ordering::Acquire) {
            parker.park(None);
        }
        teller.join().unwrap();
    });
}

#[test]
fn two_wakes_leave_one_token() {
    model(3, || {
        let parker = Arc::new(Parker::new());
        let tellers = [(); 2].map(|()| {
            let parker = parker.clone();
            thread::spawn(move || parker.unpark())
        });
        parker.park(None);
        for teller in tellers {
            teller.join().unwrap();
        }
    });
}
