//! A writer of its own keys, which knows what must be there: of what was acknowledged all, of the one write that was cut off
//! all or nothing.

use std::collections::BTreeMap;

use etcd_client::{Client, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp};
use rand::Rng;
use rand::rngs::StdRng;

/// Keys of each writer.
const KEYS: u32 = 12;

/// Leases of each writer. They end by being revoked alone.
const LEASES: i64 = 3;
const LEASE_SECONDS: i64 = 3600;

/// What a writer's part of the store looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Value and lease of each key.
    pub(crate) keys: BTreeMap<String, (String, i64)>,
    /// Whether each lease is there.
    pub(crate) leases: [bool; LEASES as usize],
}

#[derive(Clone, Debug)]
enum Op {
    Put(String, String, i64),
    Delete(String),
    /// Two puts and a delete.
    Txn(String, String, String, String),
    Grant(i64),
    Revoke(i64),
}

pub(crate) struct Writer {
    number: i64,
    chance: StdRng,
    /// What was acknowledged.
    pub(crate) view: View,
    /// What may or may not have been done.
    unknown: Option<Op>,
    turn: u64,
    /// Keys with the revisions at which they were written, as acknowledged.
    pub(crate) revisions: Vec<(i64, String)>,
    pub(crate) acknowledged: u64,
    pub(crate) highest: i64,
}

/// What is wrong after a restart.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) lost: u64,
    pub(crate) text: String,
}

impl Writer {
    pub(crate) fn new(number: i64, chance: StdRng) -> Self {
        Self {
            number,
            chance,
            view: View::default(),
            unknown: None,
            turn: 0,
            revisions: Vec::new(),
            acknowledged: 0,
            highest: 0,
        }
    }

    /// Writes until a write fails.
    pub(crate) async fn run(mut self, mut client: Client) -> Self {
        loop {
            let op = self.draw();
            self.unknown = Some(op.clone());
            let Ok(revision) = apply(&mut client, self.number, &op).await else {
                return self;
            };
            self.unknown = None;
            self.acknowledged += 1;
            self.highest = self.highest.max(revision);
            for key in self.view.apply(&op) {
                self.revisions.push((revision, key));
            }
        }
    }

    /// Compares what is there with what must be, and takes over what was unknown.
    pub(crate) async fn check(&mut self, client: &mut Client) -> Option<Wrong> {
        let found = self.found(client).await;
        let with = self.unknown.take().map(|op| {
            let mut view = self.view.clone();
            view.apply(&op);
            view
        });
        if found == self.view {
            return None;
        }
        if with.as_ref() == Some(&found) {
            self.view = found;
            return None;
        }
        let lost = self
            .view
            .keys
            .iter()
            .filter(|(key, value)| found.keys.get(*key) != Some(value))
            .count();
        let text = format!(
            "writer {}: expected {:?}\nor {with:?}\nfound {found:?}",
            self.number, self.view
        );
        self.view = found;
        Some(Wrong {
            lost: lost.max(1) as u64,
            text,
        })
    }

    async fn found(&self, client: &mut Client) -> View {
        let all = GetOptions::new().with_prefix();
        let answer = client
            .get(prefix(self.number), Some(all))
            .await
            .expect("it answers");
        let mut view = View::default();
        for kv in answer.kvs() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
            let lease = match kv.lease() {
                0 => 0,
                lease => lease - self.number * 100,
            };
            view.keys.insert(text(kv.key()), (text(kv.value()), lease));
        }
        for lease in 1..=LEASES {
            let told = client
                .lease_time_to_live(lease_id(self.number, lease), None)
                .await
                .expect("it answers");
            view.leases[lease as usize - 1] = told.ttl() > 0;
        }
        view
    }

    fn draw(&mut self) -> Op {
        self.turn += 1;
        let value = format!("{}-{}", self.number, self.turn);
        let first = self.chance.random_range(0..KEYS);
        let key = |step: u32| format!("{}{:02}", prefix(self.number), (first + step) % KEYS);
        let lease = self.chance.random_range(1..=LEASES);
        let held = self.view.leases[lease as usize - 1];
        match self.chance.random_range(0..20) {
            0..8 => Op::Put(key(0), value, 0),
            8..11 if held => Op::Put(key(0), value, lease),
            11..14 => Op::Delete(key(0)),
            14..17 => Op::Txn(key(0), key(1), key(2), value),
            17 if held => Op::Revoke(lease),
            _ if held => Op::Put(key(1), value, 0),
            _ => Op::Grant(lease),
        }
    }
}

impl View {
    /// What becomes of it, and the keys that were written.
    fn apply(&mut self, op: &Op) -> Vec<String> {
        match op {
            Op::Put(key, value, lease) => {
                self.keys.insert(key.clone(), (value.clone(), *lease));
                vec![key.clone()]
            }
            Op::Delete(key) => self
                .keys
                .remove(key)
                .map(|_| key.clone())
                .into_iter()
                .collect(),
            Op::Txn(one, other, gone, value) => {
                let mut written = vec![one.clone(), other.clone()];
                for key in [one, other] {
                    self.keys.insert(key.clone(), (value.clone(), 0));
                }
                written.extend(self.keys.remove(gone).map(|_| gone.clone()));
                written
            }
            Op::Grant(lease) => {
                self.leases[*lease as usize - 1] = true;
                Vec::new()
            }
            Op::Revoke(lease) => {
                self.leases[*lease as usize - 1] = false;
                let bound = self.keys.iter().filter(|(_, (_, held))| held == lease);
                let keys: Vec<_> = bound.map(|(key, _)| key.clone()).collect();
                for key in &keys {
                    self.keys.remove(key);
                }
                keys
            }
        }
    }
}

async fn apply(client: &mut Client, writer: i64, op: &Op) -> Result<i64, etcd_client::Error> {
    let header = match op.clone() {
        Op::Put(key, value, lease) => {
            let lease = if lease == 0 {
                0
            } else {
                lease_id(writer, lease)
            };
            let options = PutOptions::new().with_lease(lease);
            client
                .put(key, value, Some(options))
                .await?
                .header()
                .cloned()
        }
        Op::Delete(key) => client.delete(key, None).await?.header().cloned(),
        Op::Txn(one, other, gone, value) => {
            let ops = [
                TxnOp::put(one, value.clone(), None),
                TxnOp::put(other, value, None),
                TxnOp::delete(gone, None),
            ];
            client
                .txn(Txn::new().and_then(ops))
                .await?
                .header()
                .cloned()
        }
        Op::Grant(lease) => {
            let options = LeaseGrantOptions::new().with_id(lease_id(writer, lease));
            let granted = client.lease_grant(LEASE_SECONDS, Some(options)).await?;
            granted.header().cloned()
        }
        Op::Revoke(lease) => {
            let revoked = client.lease_revoke(lease_id(writer, lease)).await?;
            revoked.header().cloned()
        }
    };
    Ok(header.expect("every answer has a header").revision())
}

fn prefix(writer: i64) -> String {
    format!("w{writer:02}/")
}

fn lease_id(writer: i64, lease: i64) -> i64 {
    writer * 100 + lease
}
