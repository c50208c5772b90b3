//! A push manager with its `Million`, and clients of it.

use std::time::{Duration, Instant};

use million::etcd_service::{NodeDown, NodeUp, Synchronized};
use million::framework::settings::Document;
use million::framework::{Handle, Million};
use million::services::generated::protocol::push_server_client::PushServerClient;
use million::services::generated::protocol::{
    BroadCastReply, BroadCastReq, BroadCastRoomReply, BroadCastRoomReq, Proto,
};
use million::services::push_manager::settings::PushManagerSettings;
use million::services::push_manager::{
    Counters, NodeState, NodeTable, Nodes, PushManager, RunningPushManager, start,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::node::FakeNode;

/// How long a test waits for what must happen. Long, because the machine may be busy; it costs nothing when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Client = PushServerClient<Channel>;

pub(crate) struct World {
    pub(crate) million: Million,
    pub(crate) running: RunningPushManager,
}

/// Settings from lines of the section, on free ports.
pub(crate) fn settings(lines: &str) -> PushManagerSettings {
    let lines: String = lines
        .lines()
        .map(|line| format!("  {}\n", line.trim()))
        .collect();
    let text =
        format!("push_manager:\n  listen: 127.0.0.1:0\n  metrics_listen: 127.0.0.1:0\n{lines}");
    PushManagerSettings::from_document(&Document::parse(text, "test.yaml").unwrap()).unwrap()
}

impl World {
    pub(crate) fn new(lines: &str) -> Self {
        let million = Million::builder().workers(2).build().unwrap();
        let running = million.block_on(start(&million, settings(lines))).unwrap();
        Self { million, running }
    }

    pub(crate) fn manager(&self) -> Handle<PushManager> {
        self.running.handle.clone()
    }

    pub(crate) fn run<T>(&self, test: impl Future<Output = T>) -> T {
        self.million.block_on(test)
    }

    pub(crate) async fn client(&self) -> Client {
        let address = format!("http://{}", self.running.grpc.address());
        let channel = Endpoint::from_shared(address)
            .unwrap()
            .tcp_nodelay(true)
            .connect()
            .await
            .unwrap();
        PushServerClient::new(channel)
    }

    /// Registers `nodes`, and tells that these are all.
    pub(crate) async fn know(&self, nodes: &[&FakeNode]) {
        for node in nodes {
            self.up(node).await;
        }
        self.manager().call(Synchronized).await.unwrap();
    }

    pub(crate) async fn up(&self, node: &FakeNode) {
        self.manager()
            .call(NodeUp(node.registration()))
            .await
            .unwrap();
    }

    pub(crate) async fn down(&self, node: &FakeNode) {
        self.manager()
            .call(NodeDown(node.registration()))
            .await
            .unwrap();
    }

    pub(crate) async fn table(&self) -> NodeTable {
        table(&self.manager()).await
    }

    /// Waits until the table is as `wanted`, and returns it.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&NodeTable) -> bool) -> NodeTable {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let table = self.table().await;
            if wanted(&table) {
                return table;
            }
            assert!(Instant::now() < deadline, "in vain for {what}: {table:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing is queued.
    pub(crate) async fn settled(&self) -> Counters {
        let table = self
            .until("nothing queued", |table| table.total().queued == 0)
            .await;
        table.total()
    }

    pub(crate) async fn all_ready(&self) {
        self.until("all ready", |table| {
            table
                .nodes
                .iter()
                .all(|node| node.state == NodeState::Ready)
        })
        .await;
    }
}

/// The table, in which the identity holds.
pub(crate) async fn table(manager: &Handle<PushManager>) -> NodeTable {
    let table = manager.call(Nodes).await.unwrap();
    for node in &table.nodes {
        assert!(node.counters.is_balanced(), "{node:?}");
    }
    assert!(table.departed.is_balanced(), "{table:?}");
    table
}

pub(crate) fn proto(seq: i32) -> Proto {
    Proto {
        seq,
        op: 9,
        body: format!("message {seq}").into_bytes().into(),
        ..Proto::default()
    }
}

pub(crate) async fn broadcast(client: &mut Client, seq: i32) -> Result<BroadCastReply, Status> {
    let proto = Some(proto(seq));
    let reply = client.broadcast(BroadCastReq { proto }).await?;
    Ok(reply.into_inner())
}

pub(crate) async fn to_room(
    client: &mut Client,
    room: &str,
    seq: i32,
) -> Result<BroadCastRoomReply, Status> {
    let request = BroadCastRoomReq {
        room_id: room.to_owned(),
        proto: Some(proto(seq)),
    };
    Ok(client.broadcast_to_room(request).await?.into_inner())
}

/// Waits until `wanted`.
pub(crate) async fn eventually(what: &str, wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
