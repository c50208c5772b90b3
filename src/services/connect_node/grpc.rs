//! What the push manager calls: `pubsub.ConnectNodeService`.

use std::pin::Pin;

use futures::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::framework::{CallError, Handle, Services};
use crate::services::generated::pubsub::connect_node_service_server::ConnectNodeService;
use crate::services::generated::pubsub::{
    DeliverRequest, DeliverResponse, MessageContent, NodeBroadcastRequest, NodeBroadcastResponse,
    PushMessageBatchRequest, PushMessageBatchResponse, PushMessageRequest, PushMessageResponse,
};

use super::delivery::count;
use super::messages::{Audience, Deliver, Payload, Placed, Push};
use super::service::ConnectNode;

/// The gRPC face of a node.
#[derive(Clone)]
pub(crate) struct NodeServer {
    node: Handle<ConnectNode>,
    services: Services,
    /// Ends streams, which otherwise last as long as their callers like.
    stopping: CancellationToken,
}

impl NodeServer {
    pub(crate) fn new(
        node: Handle<ConnectNode>,
        services: Services,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            node,
            services,
            stopping,
        }
    }

    pub(crate) async fn push(&self, push: Push) -> Result<Placed, Status> {
        self.node.call(push).await.map_err(unanswered)
    }

    async fn push_content(
        &self,
        audience: Audience,
        exclude: Vec<String>,
        content: Option<MessageContent>,
    ) -> Result<Placed, Status> {
        let content =
            content.ok_or_else(|| Status::invalid_argument("the request has no content"))?;
        let payload = Payload::Content(content);
        self.push(Push {
            audience,
            exclude,
            payload,
        })
        .await
    }
}

#[tonic::async_trait]
impl ConnectNodeService for NodeServer {
    async fn push_message(
        &self,
        request: Request<PushMessageRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let request = request.into_inner();
        if request.user_id.is_empty() {
            return Err(Status::invalid_argument("user_id is empty"));
        }
        let audience = Audience::Users(vec![request.user_id]);
        let placed = self
            .push_content(audience, Vec::new(), request.content)
            .await?;
        let (success, message) = match (placed.delivered, placed.full) {
            (0, 0) => (false, "the user is not connected to this node"),
            (0, _) => (false, "the user's queue is full"),
            _ => (true, "delivered"),
        };
        Ok(Response::new(PushMessageResponse {
            success,
            message: message.to_owned(),
        }))
    }

    async fn push_message_batch(
        &self,
        request: Request<PushMessageBatchRequest>,
    ) -> Result<Response<PushMessageBatchResponse>, Status> {
        let request = request.into_inner();
        let audience = match (request.user_ids.is_empty(), request.room_id.is_empty()) {
            (true, true) => {
                return Err(Status::invalid_argument(
                    "both user_ids and room_id are empty: for everyone call BroadcastMessage",
                ));
            }
            (true, false) => Audience::Room(request.room_id),
            (false, true) => Audience::Users(request.user_ids),
            (false, false) => Audience::UsersInRoom(request.user_ids, request.room_id),
        };
        let placed = self
            .push_content(audience, request.exclude_user_ids, request.content)
            .await?;
        Ok(Response::new(PushMessageBatchResponse {
            delivered_count: count(placed.delivered),
            failed_user_ids: placed.missed,
        }))
    }

    async fn broadcast_message(
        &self,
        request: Request<NodeBroadcastRequest>,
    ) -> Result<Response<NodeBroadcastResponse>, Status> {
        let content = request.into_inner().content;
        let placed = self
            .push_content(Audience::Everyone, Vec::new(), content)
            .await?;
        Ok(Response::new(NodeBroadcastResponse {
            delivered_count: count(placed.delivered),
            failed_count: count(placed.full),
        }))
    }

    type DeliverStream = Pin<Box<dyn Stream<Item = Result<DeliverResponse, Status>> + Send>>;

    /// The answers are made as the caller takes them, one frame after the other: a caller that does not read stops its own
    /// stream and nothing else. A stop ends it between two frames: one that was begun is answered, for its users have it.
    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let server = self.clone();
        let answers = stream::try_unfold(
            (server, request.into_inner()),
            async |(server, mut frames)| {
                let frame = tokio::select! {
                    biased;
                    () = server.stopping.cancelled() => return Ok(None),
                    frame = frames.message() => frame?,
                };
                let Some(frame) = frame else {
                    return Ok(None);
                };
                let message = Deliver {
                    deliveries: frame.deliveries,
                    received: server.services.now(),
                };
                let acknowledgements = server.node.call(message).await.map_err(unanswered)?;
                let answer = DeliverResponse { acknowledgements };
                Ok(Some((answer, (server, frames))))
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The status for a message that the node did not answer.
pub(crate) fn unanswered(error: CallError) -> Status {
    match error {
        CallError::Closed => {
            Status::unavailable("the node is stopping: its users connect to others")
        }
        CallError::Timeout => Status::deadline_exceeded("the node is overloaded: try later"),
        CallError::Panicked | CallError::Cycle(_) => {
            Status::internal("the node failed at this: its log tells why")
        }
    }
}
