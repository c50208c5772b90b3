//! Threads of their own for services whose handlers block ([`Options::dedicated_thread`](super::Options::dedicated_thread)).
//!
//! ```text
//! spawn ──▶ a pool of one worker, with a thread ──▶ runs one service ──ended──▶ closes the pool ──▶ the thread ends
//!                     │ on the list                                                                     │
//!                     └──────────── shutdown waits for what is listed ◀── leaves the list, joins who left before it
//! ```
//!
//! Promises:
//!
//! - The thread ends with its service. A program that starts and ends such services for ever has at most one thread that has
//!   ended and is not joined: each that ends joins the one before.
//! - Once [`Threads::close`] has returned no thread is started, and all that are still there are in its answer.

use std::any::type_name;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::environment::Environment;
use super::runtime::Worker;
use super::sync::Mutex;
use super::worker::Pool;

/// Why a service has no thread of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the Million is shutting down")]
    Closed,
    #[error(
        "the system refused the dedicated thread of {service}: {source}; allow the process more threads or memory, or spawn fewer \
         services with Options::dedicated_thread"
    )]
    System {
        service: &'static str,
        source: std::io::Error,
    },
}

/// The dedicated threads of one `Million`.
pub(crate) struct Threads {
    /// What their names begin with.
    name: String,
    list: Mutex<List>,
}

struct List {
    running: BTreeMap<u64, Worker>,
    /// The last that ended. It is joined by the next, or by whoever closes the list.
    last: Option<JoinHandle<()>>,
    next: u64,
    closed: bool,
}

impl Threads {
    pub(crate) fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            list: Mutex::new(List {
                running: BTreeMap::new(),
                last: None,
                next: 0,
                closed: false,
            }),
        })
    }

    /// Starts a thread for one `S`, which runs what is scheduled on the returned pool until that is closed.
    pub(crate) fn start<S>(
        self: &Arc<Self>,
        environment: &Environment,
    ) -> Result<Arc<Pool>, Refused> {
        let pool = Arc::new(Pool::dedicated());
        let (ended, hears) = oneshot::async_channel();
        let io = environment.io().cloned();
        // The thread takes itself off the list under this lock, so it cannot do so before it is on it.
        let mut list = self.list.lock();
        if list.closed {
            return Err(Refused::Closed);
        }
        let number = list.next;
        list.next += 1;
        let run = {
            let (threads, pool) = (Arc::clone(self), Arc::clone(&pool));
            move || {
                let _tokio = io.as_ref().map(tokio::runtime::Handle::enter);
                pool.work(0);
                threads.ended(number);
                // Nobody hears it unless somebody closed the list.
                drop(ended.send(()));
            }
        };
        let name = format!("{}-{}", self.name, short_name(type_name::<S>()));
        let thread = environment
            .spawn_thread(name, run)
            .map_err(|source| Refused::System {
                service: type_name::<S>(),
                source,
            })?;
        let worker = Worker {
            thread,
            ended: hears,
        };
        list.running.insert(number, worker);
        Ok(pool)
    }

    /// This thread is about to end.
    fn ended(&self, number: u64) {
        let before = {
            let mut list = self.list.lock();
            match list.running.remove(&number) {
                Some(me) => list.last.replace(me.thread),
                // Somebody waits for it.
                None => None,
            }
        };
        if let Some(before) = before {
            // A worker catches what handlers panic with, so there is nothing to hear but the end.
            drop(before.join());
        }
    }

    /// No thread is started from now on. Returns those that are still there, of which the caller has to see to the end.
    pub(crate) fn close(&self) -> Vec<Worker> {
        let (running, last) = {
            let mut list = self.list.lock();
            list.closed = true;
            (std::mem::take(&mut list.running), list.last.take())
        };
        if let Some(last) = last {
            // It was at its very end when it came here.
            drop(last.join());
        }
        running.into_values().collect()
    }
}

/// The name of a type without its modules and parameters.
fn short_name(full: &'static str) -> &'static str {
    let plain = full.split_once('<').map_or(full, |(plain, _)| plain);
    plain.rsplit_once("::").map_or(plain, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    struct Generic<T>(std::marker::PhantomData<T>);

    #[test]
    fn a_short_name_has_neither_modules_nor_parameters() {
        assert_eq!(short_name(type_name::<Plain>()), "Plain");
        assert_eq!(short_name(type_name::<Generic<Vec<Plain>>>()), "Generic");
        assert_eq!(short_name("u8"), "u8");
    }
}
