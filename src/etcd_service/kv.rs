//! Reading and writing keys over a [`Connection`].

use etcd_client::{DeleteOptions, GetOptions, GetResponse, PutOptions};

use super::connection::{Clients, Connection};
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::messages::{Delete, Deleted, Get, KeyValue, List, Listing, Put, ServerStatus};

impl Connection {
    pub(super) async fn get(&self, get: Get) -> Result<Option<KeyValue>, EtcdError> {
        let mut options = GetOptions::new().with_revision(get.revision);
        if get.serializable {
            options = options.with_serializable();
        }
        let what = Action::new("get", &get.key);
        self.request(&what, Effect::Reads, |clients| {
            let mut kv = clients.kv.clone();
            let (key, options) = (get.key.clone(), options.clone());
            async move {
                let pairs = pairs(kv.get(key, Some(options)).await?);
                Ok(pairs.into_iter().next())
            }
        })
        .await
    }

    pub(super) async fn put(&self, put: &Put) -> Result<i64, EtcdError> {
        let what = Action::new("put", &put.key);
        self.request(&what, Effect::Writes, |clients| {
            let mut kv = clients.kv.clone();
            let (key, value) = (put.key.clone(), put.value.clone());
            let options = PutOptions::new().with_lease(put.lease.map_or(0, |lease| lease.0));
            async move {
                let answer = kv.put(key, value, Some(options)).await?;
                Ok(answer.header().map_or(0, |header| header.revision()))
            }
        })
        .await
    }

    pub(super) async fn delete(&self, delete: &Delete) -> Result<Deleted, EtcdError> {
        let mut options = DeleteOptions::new();
        if delete.prefix {
            options = options.with_prefix();
        }
        let what = Action::new("delete", &delete.key);
        self.request(&what, Effect::Writes, |clients| {
            let mut kv = clients.kv.clone();
            let (key, options) = (delete.key.clone(), options.clone());
            async move {
                let answer = kv.delete(key, Some(options)).await?;
                Ok(Deleted {
                    count: u64::try_from(answer.deleted()).unwrap_or(0),
                    revision: answer.header().map_or(0, |header| header.revision()),
                })
            }
        })
        .await
    }

    pub(super) async fn list(&self, list: &List) -> Result<Listing, EtcdError> {
        let what = Action::new("list", &list.prefix);
        self.request(&what, Effect::Reads, |clients| read_prefix(clients, list))
            .await
    }

    pub(super) async fn status(&self) -> Result<ServerStatus, EtcdError> {
        let endpoint = self.endpoint();
        self.request(&"get the status", Effect::Reads, |clients| {
            let mut maintenance = clients.maintenance.clone();
            async move {
                let status = maintenance.status().await?;
                Ok(ServerStatus {
                    endpoint: endpoint.to_owned(),
                    version: status.version().to_owned(),
                    leader: Some(status.leader()).filter(|&leader| leader != 0),
                    revision: status.header().map_or(0, |header| header.revision()),
                    db_size: u64::try_from(status.db_size()).unwrap_or(0),
                })
            }
        })
        .await
    }
}

fn read_prefix(
    clients: &Clients,
    list: &List,
) -> impl Future<Output = Result<Listing, etcd_client::Error>> + use<> {
    let mut kv = clients.kv.clone();
    let mut options = GetOptions::new()
        .with_prefix()
        .with_revision(list.revision)
        .with_limit(i64::from(list.limit));
    if list.keys_only {
        options = options.with_keys_only();
    }
    if list.serializable {
        options = options.with_serializable();
    }
    let prefix = list.prefix.clone();
    async move {
        let answer = kv.get(prefix, Some(options)).await?;
        let (revision, more) = (
            answer.header().map_or(0, |header| header.revision()),
            answer.more(),
        );
        Ok(Listing {
            pairs: pairs(answer),
            revision,
            more,
        })
    }
}

/// The pairs of an answer, moved out of it.
pub(super) fn pairs(answer: GetResponse) -> Vec<KeyValue> {
    answer.0.kvs.into_iter().map(KeyValue::from).collect()
}
