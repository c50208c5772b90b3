//! `protocol.PushServer` as the push manager serves it: requests become messages, replies become answers.

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::framework::{CallError, Handle, Handler, Message, Services};
use crate::services::generated::protocol::push_server_server::PushServer;
use crate::services::generated::protocol::{
    BroadCastReply, BroadCastReq, BroadCastRoomReply, BroadCastRoomReq, Proto,
};

use super::api_record::{Answer, Api, ApiRecord};
use super::messages::{Broadcast, BroadcastToRoom, PushError, Pushed};
use super::service::PushManager;

/// Our answer leaves so long before the caller's deadline. The transport has a timer for it too, which would answer CANCELLED; the
/// caller gets DEADLINE_EXCEEDED.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// Answers `protocol.PushServer` by asking the [`PushManager`], and keeps record of it.
#[derive(Clone, Debug)]
pub(crate) struct PushRpc {
    manager: Handle<PushManager>,
    api: ApiRecord,
    services: Services,
}

impl PushRpc {
    pub(crate) fn new(manager: Handle<PushManager>, api: ApiRecord, services: Services) -> Self {
        Self {
            manager,
            api,
            services,
        }
    }

    /// Waits for the answer of a request, and notes it.
    async fn recorded(
        &self,
        api: Api,
        answer: impl Future<Output = Result<Verdict, Status>>,
    ) -> Result<Verdict, Status> {
        let request = self.api.begin(api, &self.services);
        let answer = answer.await;
        request.end(match &answer {
            Ok(verdict) => verdict.answer,
            Err(status) => status.into(),
        });
        answer
    }

    async fn push<M>(
        &self,
        metadata: &MetadataMap,
        message: impl FnOnce(Option<Instant>) -> M,
    ) -> Result<Verdict, Status>
    where
        M: Message<Reply = Result<Pushed, PushError>>,
        PushManager: Handler<M>,
    {
        let deadline = timeout_of(metadata)
            .map(|timeout| self.services.now() + timeout.saturating_sub(DEADLINE_MARGIN));
        let call = self.manager.call(message(deadline)).without_timeout();
        let answer = match deadline {
            None => call.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), call)
                .await
                .map_err(|_| {
                    Status::deadline_exceeded(
                        "the deadline passed before the nodes' queues had answered: some may have taken the message",
                    )
                })?,
        };
        match answer {
            Ok(Ok(pushed)) => Ok(Verdict::of(pushed)),
            Ok(Err(error @ PushError::TooLate)) => {
                Err(Status::deadline_exceeded(error.to_string()))
            }
            Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
            Err(CallError::Closed) => Err(Status::unavailable(PushError::Stopping.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

#[tonic::async_trait]
impl PushServer for PushRpc {
    async fn broadcast(
        &self,
        request: Request<BroadCastReq>,
    ) -> Result<Response<BroadCastReply>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = async {
            let proto = present(request.proto)?;
            self.push(&metadata, |deadline| Broadcast { proto, deadline })
                .await
        };
        let verdict = self.recorded(Api::Broadcast, answer).await?;
        Ok(Response::new(BroadCastReply {
            code: verdict.code.to_owned(),
            msg: verdict.answer.name().to_owned(),
            desc: verdict.desc,
            accepted_nodes: verdict.accepted_nodes,
            refused_nodes: verdict.refused_nodes,
        }))
    }

    async fn broadcast_to_room(
        &self,
        request: Request<BroadCastRoomReq>,
    ) -> Result<Response<BroadCastRoomReply>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = async {
            let proto = present(request.proto)?;
            let room_id = request.room_id;
            if room_id.is_empty() {
                return Err(Status::invalid_argument(
                    "the field `room_id` is empty: name the room, or use Broadcast to reach everyone",
                ));
            }
            let message = |deadline| BroadcastToRoom {
                room_id,
                proto,
                deadline,
            };
            self.push(&metadata, message).await
        };
        let verdict = self.recorded(Api::BroadcastToRoom, answer).await?;
        Ok(Response::new(BroadCastRoomReply {
            code: verdict.code.to_owned(),
            msg: verdict.answer.name().to_owned(),
            desc: verdict.desc,
            accepted_nodes: verdict.accepted_nodes,
            refused_nodes: verdict.refused_nodes,
        }))
    }
}

fn present(proto: Option<Proto>) -> Result<Proto, Status> {
    proto.ok_or_else(|| {
        Status::invalid_argument("the field `proto` is missing: it holds the message to push")
    })
}

/// What the caller is told: the table at [`GrpcServer`](super::GrpcServer).
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    code: &'static str,
    answer: Answer,
    desc: String,
    accepted_nodes: i32,
    refused_nodes: i32,
}

impl Verdict {
    fn of(pushed: Pushed) -> Self {
        let Pushed {
            accepted_nodes: accepted,
            refused_nodes: refused,
        } = pushed;
        let (code, answer, desc) = match (accepted, refused) {
            (0, 0) => (
                "14",
                Answer::NoNodes,
                "no node is registered: nobody is connected, and nobody received the message"
                    .to_owned(),
            ),
            (_, 0) => ("0", Answer::Ok, format!("accepted by {}", nodes(accepted))),
            (0, _) => (
                "8",
                Answer::ResourceExhausted,
                format!(
                    "refused by {}, whose queues are full: try again later",
                    nodes(refused)
                ),
            ),
            (_, _) => (
                "8",
                Answer::Partial,
                format!(
                    "accepted by {}, refused by {}, whose queues are full: sending it again repeats it to those that accepted it",
                    nodes(accepted),
                    nodes(refused),
                ),
            ),
        };
        Self {
            code,
            answer,
            desc,
            accepted_nodes: i32::try_from(accepted).unwrap_or(i32::MAX),
            refused_nodes: i32::try_from(refused).unwrap_or(i32::MAX),
        }
    }
}

fn nodes(count: u32) -> String {
    match count {
        1 => "1 node".to_owned(),
        _ => format!("{count} nodes"),
    }
}

/// How long the caller waits: the header `grpc-timeout`, up to eight digits and a unit. One that is malformed counts for nothing, as the
/// transport has it too.
fn timeout_of(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(text: &str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        timeout_of(&metadata)
    }

    #[test]
    fn a_deadline_is_read_in_every_unit() {
        assert_eq!(timeout("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(timeout("3M"), Some(Duration::from_secs(180)));
        assert_eq!(timeout("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(timeout("5m"), Some(Duration::from_millis(5)));
        assert_eq!(timeout("6u"), Some(Duration::from_micros(6)));
        assert_eq!(timeout("7n"), Some(Duration::from_nanos(7)));
    }

    #[test]
    fn what_is_no_deadline_is_none() {
        for text in ["", "S", "1", "1x", "+1S", "123456789S", "1 S"] {
            assert_eq!(timeout(text), None, "{text:?}");
        }
        assert_eq!(timeout_of(&MetadataMap::new()), None);
    }

    #[test]
    fn ok_is_said_only_when_every_node_accepted() {
        for accepted_nodes in 0..3 {
            for refused_nodes in 0..3 {
                let verdict = Verdict::of(Pushed {
                    accepted_nodes,
                    refused_nodes,
                });
                let all = accepted_nodes > 0 && refused_nodes == 0;
                assert_eq!(verdict.code == "0", all, "{verdict:?}");
                assert_eq!(verdict.answer == Answer::Ok, all, "{verdict:?}");
            }
        }
    }
}
