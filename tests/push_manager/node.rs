//! A node that records what it receives, and misbehaves as told.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use million::etcd_service::Node;
use million::services::generated::protocol::push_server_server::{PushServer, PushServerServer};
use million::services::generated::protocol::{
    BroadCastReply, BroadCastReq, BroadCastRoomReply, BroadCastRoomReq, Proto,
};
use million::services::generated::pubsub::connect_node_service_server::{
    ConnectNodeService, ConnectNodeServiceServer,
};
use million::services::generated::pubsub::delivery::{Audience, Payload};
use million::services::generated::pubsub::{
    Acknowledgement, DeliverRequest, DeliverResponse, Delivery, DeliveryOutcome,
    NodeBroadcastRequest, NodeBroadcastResponse, PushMessageBatchRequest, PushMessageBatchResponse,
    PushMessageRequest, PushMessageResponse,
};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What a node received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) room: Option<String>,
    pub(crate) seq: i32,
}

/// What a node does with a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Accept,
    Delay(Duration),
    /// Waits until [`FakeNode::open_gate`], then accepts.
    Gate,
    /// Says that it refuses.
    Refuse,
    /// Breaks the call.
    Fail,
    /// Never answers.
    Hang,
}

type Script = Arc<dyn Fn(&Got) -> Act + Send + Sync>;

#[derive(Clone)]
struct Brain {
    script: Script,
    received: Arc<Mutex<Vec<Got>>>,
    gate: watch::Receiver<bool>,
    frames: Arc<AtomicUsize>,
    /// The shortest life that a delivery was given, in milliseconds.
    shortest_life: Arc<AtomicU32>,
}

pub(crate) struct FakeNode {
    pub(crate) address: SocketAddr,
    brain: Brain,
    gate: watch::Sender<bool>,
    /// None in a [`FakeNode::crowd`], which shares one, and when it is killed.
    runtime: Option<Runtime>,
}

impl FakeNode {
    /// One that fails, refuses, hangs and dawdles now and then, each `number` at other messages.
    pub(crate) fn misbehaving(number: i32) -> Self {
        Self::start(move |got| match (got.seq * 13 + number * 5) % 19 {
            0 => Act::Fail,
            1 => Act::Refuse,
            2 if got.seq % 4 == 0 => Act::Hang,
            3..8 => Act::Delay(Duration::from_millis(2)),
            _ => Act::Accept,
        })
    }

    pub(crate) fn start(script: impl Fn(&Got) -> Act + Send + Sync + 'static) -> Self {
        let runtime = runtime();
        let mut node = Self::start_on(&runtime, script);
        node.runtime = Some(runtime);
        node
    }

    fn start_on(runtime: &Runtime, script: impl Fn(&Got) -> Act + Send + Sync + 'static) -> Self {
        let (gate, watch) = watch::channel(false);
        let brain = Brain {
            script: Arc::new(script),
            received: Arc::default(),
            gate: watch,
            frames: Arc::default(),
            shortest_life: Arc::new(AtomicU32::new(u32::MAX)),
        };
        let address = serve(runtime, "127.0.0.1:0".parse().unwrap(), &brain);
        Self {
            address,
            brain,
            gate,
            runtime: None,
        }
    }

    pub(crate) fn accepting() -> Self {
        Self::start(|_| Act::Accept)
    }

    /// Many that accept, and the threads on which they run: more than a test can give a runtime each.
    pub(crate) fn crowd(count: usize) -> (Vec<Self>, Runtime) {
        let runtime = runtime();
        let nodes = (0..count)
            .map(|_| Self::start_on(&runtime, |_| Act::Accept))
            .collect();
        (nodes, runtime)
    }

    /// Ends it in the middle of whatever it does; its sockets are closed when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            // The runtime's own thread closes them, a moment later.
            while TcpStream::connect(self.address).is_ok() {
                std::thread::yield_now();
            }
        }
    }

    /// Starts it again at the same address.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let runtime = runtime();
        serve(&runtime, self.address, &self.brain);
        self.runtime = Some(runtime);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub(crate) fn received(&self) -> Vec<Got> {
        self.brain.received.lock().clone()
    }

    /// The sequence numbers of what came for `room`, in the order in which it came.
    pub(crate) fn sequence(&self, room: Option<&str>) -> Vec<i32> {
        self.received()
            .into_iter()
            .filter(|got| got.room.as_deref() == room)
            .map(|got| got.seq)
            .collect()
    }

    pub(crate) fn frames(&self) -> usize {
        self.brain.frames.load(Ordering::Relaxed)
    }

    /// The shortest life that a delivery was given, in milliseconds.
    pub(crate) fn shortest_life(&self) -> u32 {
        self.brain.shortest_life.load(Ordering::Relaxed)
    }

    /// Its registration.
    pub(crate) fn registration(&self) -> Node {
        self.registered_as("connect_node")
    }

    pub(crate) fn registered_as(&self, protocol: &str) -> Node {
        Node {
            key: format!("/services/connect-node/{}", self.address),
            address: self.address.to_string(),
            metadata: [("protocol".to_owned(), protocol.to_owned())].into(),
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn serve(runtime: &Runtime, address: SocketAddr, brain: &Brain) -> SocketAddr {
    // A port that was just freed by a kill is free a moment later.
    let listener = (0..200)
        .find_map(|_| {
            let bound = TcpListener::bind(address);
            if bound.is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
            bound.ok()
        })
        .expect("the address can be listened on");
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let _entered = runtime.enter();
    let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap())
        .with_nodelay(Some(true));
    let server = Server::builder()
        .add_service(ConnectNodeServiceServer::new(brain.clone()))
        .add_service(PushServerServer::new(brain.clone()))
        .serve_with_incoming(incoming);
    runtime.spawn(server);
    address
}

impl Brain {
    /// `Err` breaks the call; `false` refuses.
    async fn take(&self, got: Got) -> Result<bool, Status> {
        match (self.script)(&got) {
            Act::Accept => {}
            Act::Delay(delay) => tokio::time::sleep(delay).await,
            Act::Gate => drop(self.gate.clone().wait_for(|open| *open).await),
            Act::Refuse => return Ok(false),
            Act::Fail => return Err(Status::internal("told to fail")),
            Act::Hang => std::future::pending().await,
        }
        self.received.lock().push(got);
        Ok(true)
    }

    async fn acknowledge(&self, delivery: Delivery) -> Result<Acknowledgement, Status> {
        let room = match delivery.audience {
            Some(Audience::RoomId(room)) => Some(room),
            Some(Audience::Everyone(_)) => None,
            other => panic!("no such audience is ever sent: {other:?}"),
        };
        let Some(Payload::Proto(proto)) = delivery.payload else {
            panic!("a delivery has a proto");
        };
        assert!(delivery.expires_in_ms > 0, "a delivery expires");
        self.shortest_life
            .fetch_min(delivery.expires_in_ms, Ordering::Relaxed);
        let seq = proto.seq;
        let accepted = self.take(Got { room, seq }).await?;
        let outcome = if accepted {
            DeliveryOutcome::Delivered
        } else {
            DeliveryOutcome::Refused
        };
        Ok(Acknowledgement {
            id: delivery.id,
            outcome: outcome.into(),
            ..Acknowledgement::default()
        })
    }

    async fn answer(
        &self,
        mut frames: Streaming<DeliverRequest>,
        answers: &mpsc::Sender<Result<DeliverResponse, Status>>,
    ) -> Result<(), Status> {
        while let Some(frame) = frames.message().await? {
            self.frames.fetch_add(1, Ordering::Relaxed);
            for delivery in frame.deliveries {
                let acknowledgements = vec![self.acknowledge(delivery).await?];
                let response = DeliverResponse { acknowledgements };
                drop(answers.send(Ok(response)).await);
            }
        }
        Ok(())
    }

    async fn reply(&self, room: Option<String>, proto: Option<Proto>) -> Result<String, Status> {
        let seq = proto.expect("the proto is always sent").seq;
        let accepted = self.take(Got { room, seq }).await?;
        Ok(if accepted { "0" } else { "8" }.to_owned())
    }
}

#[tonic::async_trait]
impl PushServer for Brain {
    async fn broadcast(
        &self,
        request: Request<BroadCastReq>,
    ) -> Result<Response<BroadCastReply>, Status> {
        let code = self.reply(None, request.into_inner().proto).await?;
        Ok(Response::new(BroadCastReply {
            code,
            ..BroadCastReply::default()
        }))
    }

    async fn broadcast_to_room(
        &self,
        request: Request<BroadCastRoomReq>,
    ) -> Result<Response<BroadCastRoomReply>, Status> {
        let request = request.into_inner();
        let code = self.reply(Some(request.room_id), request.proto).await?;
        Ok(Response::new(BroadCastRoomReply {
            code,
            ..BroadCastRoomReply::default()
        }))
    }
}

#[tonic::async_trait]
impl ConnectNodeService for Brain {
    type DeliverStream = ReceiverStream<Result<DeliverResponse, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let (answers, stream) = mpsc::channel(16);
        let brain = self.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                // The caller has given up: what it sent is worth nothing any more.
                () = answers.closed() => return,
                ended = brain.answer(request.into_inner(), &answers) => ended,
            };
            if let Err(status) = ended {
                drop(answers.send(Err(status)).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn push_message(
        &self,
        _: Request<PushMessageRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn push_message_batch(
        &self,
        _: Request<PushMessageBatchRequest>,
    ) -> Result<Response<PushMessageBatchResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn broadcast_message(
        &self,
        _: Request<NodeBroadcastRequest>,
    ) -> Result<Response<NodeBroadcastResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }
}
