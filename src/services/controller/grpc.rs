//! The Controller's gRPC service: requests are checked here, and become messages.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::framework::{CallError, Handle};
use crate::services::generated::pubsub::controller_service_server::ControllerService;
use crate::services::generated::pubsub::{
    GetRoomInfoRequest, GetRoomInfoResponse, GetRoomStatsRequest, GetRoomStatsResponse,
    GetUserNodeRequest, GetUserNodeResponse, JoinRoomRequest, JoinRoomResponse, LeaveRoomRequest,
    LeaveRoomResponse,
};

use super::error::JoinRefused;
use super::headers;
use super::messages::{
    Join, JoinRoom, Leave, LeaveOutcome, LeaveRoom, RoomInfoOf, Stats, UserNodeOf,
};
use super::service::Controller;

/// The longest id or name of a user, room or node, in bytes: names are short, and memory is bounded by counting them.
const MAX_ID_BYTES: usize = 256;
/// The largest metadata of a user in a room, all keys and values together, in bytes, for the same reason.
const MAX_METADATA_BYTES: usize = 4096;

pub(crate) struct ControllerServer {
    controller: Handle<Controller>,
}

impl ControllerServer {
    pub(crate) fn new(controller: Handle<Controller>) -> Self {
        Self { controller }
    }
}

#[tonic::async_trait]
impl ControllerService for ControllerServer {
    async fn join_room(
        &self,
        request: Request<JoinRoomRequest>,
    ) -> Result<Response<JoinRoomResponse>, Status> {
        let now = now();
        let (metadata, _, request) = request.into_parts();
        let joined_at = now.saturating_sub(joined_ms_ago(&metadata)?);
        let with_room = header(&metadata, headers::ROOM_INFO)? != Some(headers::NO_ROOM_INFO);
        let join = Join {
            user_id: id("user_id", request.user_id)?,
            room_id: id("room_id", request.room_id)?,
            user_name: short("user_name", request.user_name)?,
            node_id: id("node_id", request.node_id)?,
            metadata: small(request.metadata)?,
            joined_at,
        };
        let message = JoinRoom {
            join,
            now,
            with_room,
        };
        let joined = self.controller.call(message).await.map_err(unanswered)?;
        match joined {
            Ok(room_info) => Ok(Response::new(JoinRoomResponse {
                success: true,
                message: "joined".to_owned(),
                room_info,
            })),
            Err(refused @ JoinRefused::Superseded { .. }) => Ok(Response::new(JoinRoomResponse {
                success: false,
                message: refused.to_string(),
                room_info: None,
            })),
            Err(refused) => Err(Status::resource_exhausted(refused.to_string())),
        }
    }

    async fn leave_room(
        &self,
        request: Request<LeaveRoomRequest>,
    ) -> Result<Response<LeaveRoomResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let leave = Leave {
            user_id: id("user_id", request.user_id)?,
            room_id: id("room_id", request.room_id)?,
            node_id: header(&metadata, headers::NODE_ID)?.map(str::to_owned),
        };
        let message = LeaveRoom { leave, now: now() };
        let outcome = self.controller.call(message).await.map_err(unanswered)?;
        let (success, message) = match outcome {
            LeaveOutcome::Left => (true, "left".to_owned()),
            LeaveOutcome::NotThere => (false, "the user was not in the room".to_owned()),
            LeaveOutcome::OnOtherNode(node) => (
                false,
                format!("the user has joined on node {node} since, and stays"),
            ),
        };
        Ok(Response::new(LeaveRoomResponse { success, message }))
    }

    async fn get_room_info(
        &self,
        request: Request<GetRoomInfoRequest>,
    ) -> Result<Response<GetRoomInfoResponse>, Status> {
        let room_id = id("room_id", request.into_inner().room_id)?;
        let room = self
            .controller
            .call(RoomInfoOf(room_id.clone()))
            .await
            .map_err(unanswered)?;
        match room {
            Some(room) => Ok(Response::new(GetRoomInfoResponse {
                room_info: Some(room),
            })),
            None => Err(Status::not_found(format!(
                "nobody is in the room {room_id:?}: a room exists as long as somebody is in it"
            ))),
        }
    }

    async fn get_user_node(
        &self,
        request: Request<GetUserNodeRequest>,
    ) -> Result<Response<GetUserNodeResponse>, Status> {
        let user_id = id("user_id", request.into_inner().user_id)?;
        let found = self
            .controller
            .call(UserNodeOf(user_id))
            .await
            .map_err(unanswered)?;
        Ok(Response::new(match found {
            Some(user) => GetUserNodeResponse {
                node_id: user.node_id,
                // The registrations of nodes are in etcd, which this Controller does not ask.
                node_address: String::new(),
                found: true,
                room_id: user.room_id,
            },
            None => GetUserNodeResponse::default(),
        }))
    }

    async fn get_room_stats(
        &self,
        _: Request<GetRoomStatsRequest>,
    ) -> Result<Response<GetRoomStatsResponse>, Status> {
        let stats = self.controller.call(Stats).await.map_err(unanswered)?;
        Ok(Response::new(stats))
    }
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn id(field: &str, value: String) -> Result<String, Status> {
    if value.is_empty() {
        return Err(Status::invalid_argument(format!("{field} is empty")));
    }
    short(field, value)
}

fn short(field: &str, value: String) -> Result<String, Status> {
    if value.len() > MAX_ID_BYTES {
        return Err(Status::invalid_argument(format!(
            "{field} has {} bytes, more than the {MAX_ID_BYTES} that an id or a name may have",
            value.len()
        )));
    }
    Ok(value)
}

fn small(metadata: HashMap<String, String>) -> Result<HashMap<String, String>, Status> {
    let bytes: usize = metadata
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(Status::invalid_argument(format!(
            "metadata has {bytes} bytes, more than the {MAX_METADATA_BYTES} that the metadata of a user in a room may have"
        )));
    }
    Ok(metadata)
}

fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Result<Option<&'a str>, Status> {
    metadata
        .get(name)
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| Status::invalid_argument(format!("header {name} is no ASCII text")))
}

fn joined_ms_ago(metadata: &MetadataMap) -> Result<i64, Status> {
    let Some(text) = header(metadata, headers::JOINED_MS_AGO)? else {
        return Ok(0);
    };
    text.parse::<u32>().map(i64::from).map_err(|_| {
        Status::invalid_argument(format!(
            "header {} is {text:?}, but must be a number of milliseconds from 0 to {}",
            headers::JOINED_MS_AGO,
            u32::MAX
        ))
    })
}

fn unanswered(error: CallError) -> Status {
    match error {
        CallError::Closed => {
            Status::unavailable("the Controller is stopping: try another, or later")
        }
        CallError::Timeout => Status::deadline_exceeded("the Controller is overloaded: try later"),
        CallError::Panicked | CallError::Cycle(_) => {
            Status::internal("the Controller failed at this: its log tells why")
        }
    }
}
