//! The embedded etcd through the clients that people use: `etcd-client` and `etcdctl`.
//!
//! - `conformance`: the same scripts against the embedded server and a real etcd; every answer must be the same.
//! - `watching`, `leasing`: what a script cannot show, because it is about time and load.
//! - `ctl`: `etcdctl` as an operator uses it.
//! - `lifecycle`: start, stop, drop, and what goes wrong at a start.
//! - `real`: the helper that runs a real etcd.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

#[path = "../support/mod.rs"]
mod support;

mod conformance;
mod ctl;
mod leasing;
mod lifecycle;
mod real;
mod watching;

use std::future::Future;
use std::time::Duration;

use etcd_client::Client;
use million::etcd_service::embedded::{self, EmbeddedEtcd, EmbeddedOptions};

/// Far longer than anything here takes: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

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

/// The gRPC code and text of a refusal.
fn refusal(error: etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            format!("{:?}: {}", status.code(), status.message())
        }
        other => panic!("not a gRPC status: {other}"),
    }
}
