//! What push managers of the older kind call: `protocol.PushServer`, one message a call.

use tonic::{Code, Request, Response, Status};

use crate::services::generated::protocol::push_server_server::PushServer;
use crate::services::generated::protocol::{
    BroadCastReply, BroadCastReq, BroadCastRoomReply, BroadCastRoomReq, Proto,
};

use super::grpc::NodeServer;
use super::messages::{Audience, Payload, Placed, Push};

/// The replies' texts. A code is "0", or else the number of the gRPC status that says the same.
struct Verdict {
    code: String,
    msg: &'static str,
    desc: String,
    accepted: bool,
}

impl Verdict {
    fn of(placed: &Placed) -> Self {
        if placed.delivered == 0 && placed.full > 0 {
            return Self {
                code: (Code::ResourceExhausted as i32).to_string(),
                msg: "RESOURCE_EXHAUSTED",
                desc: format!(
                    "the queues of all {} users are full: they are too slow",
                    placed.full
                ),
                accepted: false,
            };
        }
        Self {
            code: "0".to_owned(),
            msg: "OK",
            desc: match (placed.delivered, placed.full) {
                (0, _) => "nobody of the audience is connected to this node".to_owned(),
                (delivered, 0) => format!("users: {delivered}"),
                (delivered, full) => {
                    format!("users: {delivered}; missed by {full} whose queues are full")
                }
            },
            accepted: true,
        }
    }
}

impl NodeServer {
    async fn push_proto(
        &self,
        audience: Audience,
        proto: Option<Proto>,
    ) -> Result<Verdict, Status> {
        let proto = proto.ok_or_else(|| Status::invalid_argument("the request has no proto"))?;
        let push = Push {
            audience,
            exclude: Vec::new(),
            payload: Payload::Proto(proto),
        };
        Ok(Verdict::of(&self.push(push).await?))
    }
}

#[tonic::async_trait]
impl PushServer for NodeServer {
    async fn broadcast(
        &self,
        request: Request<BroadCastReq>,
    ) -> Result<Response<BroadCastReply>, Status> {
        let verdict = self
            .push_proto(Audience::Everyone, request.into_inner().proto)
            .await?;
        Ok(Response::new(BroadCastReply {
            code: verdict.code,
            msg: verdict.msg.to_owned(),
            desc: verdict.desc,
            accepted_nodes: i32::from(verdict.accepted),
            refused_nodes: i32::from(!verdict.accepted),
        }))
    }

    async fn broadcast_to_room(
        &self,
        request: Request<BroadCastRoomReq>,
    ) -> Result<Response<BroadCastRoomReply>, Status> {
        let request = request.into_inner();
        if request.room_id.is_empty() {
            return Err(Status::invalid_argument("room_id is empty"));
        }
        let verdict = self
            .push_proto(Audience::Room(request.room_id), request.proto)
            .await?;
        Ok(Response::new(BroadCastRoomReply {
            code: verdict.code,
            msg: verdict.msg.to_owned(),
            desc: verdict.desc,
            accepted_nodes: i32::from(verdict.accepted),
            refused_nodes: i32::from(!verdict.accepted),
        }))
    }
}
