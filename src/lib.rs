//! A framework for services that talk by messages, etcd as such a service, and a push manager built on both.
//!
//! - [`framework`]: services are single-threaded and share a pool of workers; a handler may await while its service handles
//!   other messages. Start with [`Million`](framework::Million), [`Service`](framework::Service) and
//!   [`Handler`](framework::Handler).
//! - [`etcd_service`]: etcd as a service: keys, transactions, watches, leases, locks, elections, registration, discovery and
//!   configuration; and an etcd in the process itself, in memory or with its data in a folder.
//! - [`services`]: the push manager, with a reference Connect-Node and Controller to run it with.
//!
//! ```
//! use million::framework::{BuildError, Cx, Handler, Message, Million, Service};
//!
//! struct Account {
//!     balance: u64,
//! }
//!
//! impl Service for Account {}
//!
//! struct Deposit {
//!     amount: u64,
//! }
//!
//! impl Message for Deposit {
//!     type Reply = u64;
//! }
//!
//! impl Handler<Deposit> for Account {
//!     async fn handle(cx: &Cx<Self>, message: Deposit) -> u64 {
//!         // Other messages are handled while this waits …
//!         cx.sleep(std::time::Duration::from_millis(1)).await;
//!         // … and nothing else runs in the service while this guard lives. Holding it across an await does not compile.
//!         let mut account = cx.state();
//!         account.balance += message.amount;
//!         account.balance
//!     }
//! }
//!
//! fn main() -> Result<(), BuildError> {
//!     let million = Million::builder().build()?;
//!     let account = million.spawn(Account { balance: 0 });
//!     let balance = million.block_on(async { account.call(Deposit { amount: 5 }).await });
//!     assert_eq!(balance, Ok(5));
//!     Ok(())
//! }
//! ```
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "unit tests of pure code take moments from where they like"
    )
)]

pub mod etcd_service;
pub mod framework;
pub mod services;

/// The Rust in the README and in the guide, compiled and run with the documentation's own examples.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../README.md")]
    mod readme {}

    #[doc = include_str!("../docs/porting.md")]
    mod porting {}
}
