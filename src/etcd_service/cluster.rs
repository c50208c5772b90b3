//! Asking about the servers of etcd.

use std::sync::Arc;

use etcd_client::StatusResponse;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::kv::revision_of;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Asks which endpoint is in use. It is answered from memory; with an embedded etcd it is that server's URL, which any client can
/// use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Endpoint;

impl Message for Endpoint {
    /// The URL, `http://host:port` or `https://host:port`.
    type Reply = Result<String, EtcdError>;
}

/// Asks the server in use how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Status;

impl Message for Status {
    /// How the server is.
    type Reply = Result<ServerStatus, EtcdError>;
}

/// Asks the server at each endpoint of the settings how it is, all at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct StatusOfAll;

impl Message for StatusOfAll {
    /// How each is, or why it did not tell, in the order of the settings.
    type Reply = Result<Vec<EndpointStatus>, EtcdError>;
}

/// What an endpoint answered to [`StatusOfAll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// The endpoint.
    pub endpoint: String,
    /// How its server is.
    pub status: Result<ServerStatus, EtcdError>,
}

/// How a server of etcd is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The endpoint that answered.
    pub endpoint: String,
    /// The member that it is.
    pub member: u64,
    /// Its version, such as `3.5.9`.
    pub version: String,
    /// The member that leads, if there is one.
    pub leader: Option<u64>,
    /// Whether it is a learner, which neither votes nor answers reads that must be new.
    pub learner: bool,
    /// Its newest revision.
    pub revision: i64,
    /// The term of the leader.
    pub raft_term: u64,
    /// How far the log has come here.
    pub raft_index: u64,
    /// Bytes that its data take on disk.
    pub db_size: u64,
    /// Bytes of these that are in use; the rest comes back when it is defragmented.
    pub db_size_in_use: u64,
    /// What is wrong with it, such as alarms.
    pub errors: Vec<String>,
}

/// Asks which members the cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct MemberList;

impl Message for MemberList {
    /// The members.
    type Reply = Result<Vec<Member>, EtcdError>;
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Its name; empty until it was started for the first time.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as it says itself.
    pub client_urls: Vec<String>,
    /// Whether it is a learner.
    pub learner: bool,
}

impl Handler<Endpoint> for Etcd {
    async fn handle(cx: &Cx<Self>, _: Endpoint) -> Result<String, EtcdError> {
        Ok(cx.state().connection().endpoint().to_owned())
    }
}

impl Handler<Status> for Etcd {
    async fn handle(cx: &Cx<Self>, _: Status) -> Result<ServerStatus, EtcdError> {
        let status = |etcd: Arc<Connection>| async move { etcd.status().await };
        run(cx, "get the status", Effect::Reads, status).await
    }
}

impl Handler<StatusOfAll> for Etcd {
    async fn handle(cx: &Cx<Self>, _: StatusOfAll) -> Result<Vec<EndpointStatus>, EtcdError> {
        let status = |etcd: Arc<Connection>| async move { Ok(etcd.status_of_all().await) };
        run(cx, "get the status of each", Effect::Reads, status).await
    }
}

impl Handler<MemberList> for Etcd {
    async fn handle(cx: &Cx<Self>, _: MemberList) -> Result<Vec<Member>, EtcdError> {
        let list = |etcd: Arc<Connection>| async move { etcd.members().await };
        run(cx, "list the members", Effect::Reads, list).await
    }
}

impl Connection {
    async fn status(&self) -> Result<ServerStatus, EtcdError> {
        let (endpoint, answer) = self
            .request(&"get the status", Effect::ReadsLocally, |clients| {
                let mut maintenance = clients.maintenance.clone();
                let endpoint = clients.url.clone();
                async move { Ok((endpoint, maintenance.status().await?)) }
            })
            .await?;
        Ok(server_status(endpoint, &answer))
    }

    async fn status_of_all(&self) -> Vec<EndpointStatus> {
        let answers = self
            .ask_each(&"get the status", |clients| {
                let mut maintenance = clients.maintenance.clone();
                async move { maintenance.status().await }
            })
            .await;
        let told = answers
            .into_iter()
            .map(|(endpoint, answer)| EndpointStatus {
                status: answer.map(|status| server_status(endpoint.clone(), &status)),
                endpoint,
            });
        told.collect()
    }

    async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        let answer = self
            .request(&"list the members", Effect::ReadsLocally, |clients| {
                let mut cluster = clients.cluster.clone();
                async move { cluster.member_list().await }
            })
            .await?;
        let members = answer.0.members.into_iter().map(|member| Member {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_ur_ls,
            client_urls: member.client_ur_ls,
            learner: member.is_learner,
        });
        Ok(members.collect())
    }
}

fn server_status(endpoint: String, status: &StatusResponse) -> ServerStatus {
    let bytes = |size| u64::try_from(size).unwrap_or(0);
    ServerStatus {
        endpoint,
        member: status.header().map_or(0, |header| header.member_id()),
        version: status.version().to_owned(),
        leader: Some(status.leader()).filter(|&leader| leader != 0),
        learner: status.is_learner(),
        revision: revision_of(status.header()),
        raft_term: status.raft_term(),
        raft_index: status.raft_index(),
        db_size: bytes(status.db_size()),
        db_size_in_use: bytes(status.raft_used_db_size()),
        errors: status.errors().to_vec(),
    }
}
