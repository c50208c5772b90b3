//! The embedded etcd through the clients that people use: `etcd-client` and `etcdctl`.
//!
//! What it answers is compared with real etcds by `tests/conformance`. Here is what such a comparison cannot show:
//!
//! - `locking`, `electing`: the lock and election services through their clients, against both.
//! - `watching`, `leasing`: what is about time and load.
//! - `ctl`: `etcdctl` as an operator uses it.
//! - `wire`, `raw`: what a client may do to a connection, and one over HTTP/2 itself.
//! - `lifecycle`: start, stop, drop, and what goes wrong at a start.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

#[path = "../support/mod.rs"]
mod support;

mod ctl;
mod electing;
mod leasing;
mod lifecycle;
mod locking;
mod raw;
mod watching;
mod wire;

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, GetOptions, LeaseGrantOptions};
use million::etcd_service::embedded::{self, EmbeddedEtcd, EmbeddedOptions};
use support::real_etcd::RealEtcd;

/// Far longer than anything here takes: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at whether something has happened.
const POLL: Duration = Duration::from_millis(5);

/// Fails the test if `future` takes longer than anything here should.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it ends in time")
}

async fn connect(endpoint: &str) -> Client {
    in_time(Client::connect([endpoint], None))
        .await
        .expect("the server can be reached")
}

async fn serve() -> (EmbeddedEtcd, Client) {
    serve_with(EmbeddedOptions::default()).await
}

async fn serve_with(options: EmbeddedOptions) -> (EmbeddedEtcd, Client) {
    let etcd = embedded::start_with(([127, 0, 0, 1], 0).into(), options)
        .await
        .expect("a free port can be listened on");
    let client = connect(&etcd.endpoint()).await;
    (etcd, client)
}

/// Runs a test against the embedded server and a real etcd.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Client) -> F) {
    let (_etcd, client) = serve().await;
    test(client).await;
    let real = RealEtcd::start();
    test(connect(&real.endpoint()).await).await;
}

/// Waits until so many keys begin with `prefix`.
async fn until_keys(client: &Client, prefix: &str, count: i64) {
    let mut kv = client.kv_client();
    let asking = async {
        loop {
            let options = GetOptions::new().with_prefix().with_count_only();
            let answer = kv.get(prefix, Some(options)).await;
            if answer.expect("it answers").count() == count {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    in_time(asking).await;
}

async fn grant(client: &Client, id: i64) -> i64 {
    let options = LeaseGrantOptions::new().with_id(id);
    let granted = client.lease_client().grant(60, Some(options)).await;
    granted.expect("the id is free").id()
}

async fn revoke(client: &Client, lease: i64) {
    let revoked = client.lease_client().revoke(lease).await;
    revoked.expect("it is there");
}

/// The gRPC code and text of a refusal.
fn refusal(error: etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            format!("{:?}: {}", status.code(), status.message())
        }
        other => panic!("not a gRPC status: {other}"),
    }
}
