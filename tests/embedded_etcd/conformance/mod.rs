//! The same scripts against the embedded server and a real etcd. Every answer is noted, with its header, and the notes
//! must be equal.

use std::fmt::Debug;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchFilterType,
    WatchOptions, WatchStream,
};

use super::support::real_etcd::RealEtcd;
use super::{connect, in_time, refusal, serve};

/// A client and what it was answered.
struct Script {
    client: Client,
    notes: Vec<String>,
    cluster_id: String,
    member_id: String,
}

impl Script {
    async fn new(mut client: Client) -> Self {
        let status = client.status().await.expect("the server tells its status");
        let header = status.header().expect("a status has a header");
        Self {
            cluster_id: header.cluster_id().to_string(),
            member_id: header.member_id().to_string(),
            client,
            notes: Vec::new(),
        }
    }

    fn note<T: Debug>(&mut self, what: &str, answer: Result<T, etcd_client::Error>) {
        let answer = match answer {
            Ok(answer) => format!("{answer:?}")
                .replace(&self.cluster_id, "CLUSTER")
                .replace(&self.member_id, "MEMBER"),
            Err(error) => refusal(error),
        };
        self.notes.push(format!("{what}: {answer}"));
    }

    async fn put(&mut self, key: &str, value: &str) {
        let answer = self.client.put(key, value, None).await;
        self.note(&format!("put {key}"), answer);
    }

    async fn put_with(&mut self, key: &str, value: &str, options: PutOptions) {
        let answer = self.client.put(key, value, Some(options.clone())).await;
        self.note(&format!("put {key} {options:?}"), answer);
    }

    async fn get(&mut self, key: &str, options: GetOptions) {
        let answer = self.client.get(key, Some(options.clone())).await;
        self.note(&format!("get {key} {options:?}"), answer);
    }

    async fn delete(&mut self, key: &str, options: DeleteOptions) {
        let answer = self.client.delete(key, Some(options.clone())).await;
        self.note(&format!("delete {key} {options:?}"), answer);
    }

    async fn txn(&mut self, what: &str, txn: Txn) {
        let answer = self.client.txn(txn).await;
        self.note(what, answer);
    }

    /// Notes so many responses of a watch stream.
    async fn responses(&mut self, what: &str, stream: &mut WatchStream, count: usize) {
        for _ in 0..count {
            let response = in_time(stream.message()).await.transpose();
            self.note(what, response.expect("the stream goes on"));
        }
    }
}

/// Runs a script against both and compares.
macro_rules! same_on_both {
    ($name:ident, $script:ident => $body:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            async fn run(client: Client) -> Vec<String> {
                let mut $script = Script::new(client).await;
                $body
                $script.notes
            }
            let (_etcd, client) = serve().await;
            let ours = run(client).await;
            let real = RealEtcd::start();
            let theirs = run(connect(&real.endpoint()).await).await;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "left: embedded, right: etcd");
            }
            assert_eq!(ours.len(), theirs.len());
        }
    };
}

mod keys;
mod leases;
mod transactions;
mod watches;

fn get() -> GetOptions {
    GetOptions::new()
}

fn put_op(key: &str, value: &str) -> TxnOp {
    TxnOp::put(key, value, Some(PutOptions::new().with_prev_key()))
}

fn delete_op(key: &str, end: &str) -> TxnOp {
    let options = DeleteOptions::new().with_prev_key();
    let options = if end.is_empty() {
        options
    } else {
        options.with_range(end)
    };
    TxnOp::delete(key, Some(options))
}

fn is_new(key: &str) -> Compare {
    Compare::version(key, CompareOp::Equal, 0)
}
