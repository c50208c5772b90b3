//! The network between a node and its Controller: one connection, what is told over it, and hearing that it is gone.

use std::time::{Duration, Instant};

use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::framework::settings::Address;
use crate::services::controller::headers;
use crate::services::generated::pubsub::controller_service_client::ControllerServiceClient;
use crate::services::generated::pubsub::{JoinRoomRequest, LeaveRoomRequest};

use super::membership::Operation;

/// For a connection to be made: many round trips on any network.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// For one call. The Controller answers from memory; who takes longer is not well.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// HTTP/2 pings, which find a dead link while nothing is told. Servers close connections that ping much more often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

const CONTROLLER_SERVICE: &str = "pubsub.ControllerService";

/// A connection over which the Controller answers.
#[derive(Clone)]
pub(crate) struct Link {
    client: ControllerServiceClient<Channel>,
    node_id: String,
}

/// Ends when the Controller does. `None`: this Controller has no health service, and only a failing call tells.
pub(crate) type Watch = Option<Streaming<HealthCheckResponse>>;

/// What became of an operation.
#[derive(Debug)]
pub(crate) enum Told {
    /// The Controller has taken it.
    Done,
    /// The Controller does not want it; trying again would not help. The text is for the log.
    Refused(String),
    /// Whether the Controller has taken it is unknown. Joins and leaves can be told twice.
    Lost(String),
}

impl Link {
    /// Connects, and begins to watch the Controller. The error is a text for the log.
    pub(crate) async fn open(address: &Address, node_id: String) -> Result<(Self, Watch), String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = tokio::time::timeout(CONNECT_LIMIT, endpoint.connect())
            .await
            .map_err(|_| "no connection in time".to_owned())?
            .map_err(|error| cause(&error))?;
        let watch = tokio::time::timeout(CALL_LIMIT, watch(channel.clone()))
            .await
            .map_err(|_| "its health service does not answer".to_owned())??;
        let client = ControllerServiceClient::new(channel);
        Ok((Self { client, node_id }, watch))
    }

    /// Tells one operation; `now` is the time by which the Controller is told how long ago it was.
    pub(crate) async fn tell(mut self, operation: &Operation, now: Instant) -> Told {
        let told = async {
            match operation {
                Operation::Joined {
                    user_id,
                    room_id,
                    user_name,
                    at,
                } => {
                    let mut request = Request::new(JoinRoomRequest {
                        user_id: user_id.to_string(),
                        room_id: room_id.to_string(),
                        user_name: user_name.clone(),
                        node_id: self.node_id.clone(),
                        metadata: Default::default(),
                    });
                    let ago = now.saturating_duration_since(*at).as_millis();
                    let ago = u32::try_from(ago).unwrap_or(u32::MAX);
                    let metadata = request.metadata_mut();
                    metadata.insert(headers::JOINED_MS_AGO, MetadataValue::from(ago));
                    let none = MetadataValue::from_static(headers::NO_ROOM_INFO);
                    metadata.insert(headers::ROOM_INFO, none);
                    self.client.join_room(request).await.map(|reply| {
                        let reply = reply.into_inner();
                        match reply.success {
                            true => Told::Done,
                            false => Told::Refused(reply.message),
                        }
                    })
                }
                Operation::Left { user_id, room_id } => {
                    let mut request = Request::new(LeaveRoomRequest {
                        user_id: user_id.to_string(),
                        room_id: room_id.to_string(),
                    });
                    if let Ok(node_id) = MetadataValue::try_from(&self.node_id) {
                        request.metadata_mut().insert(headers::NODE_ID, node_id);
                    }
                    // That the user was not there, or has moved, is what a leave wants.
                    let reply = self.client.leave_room(request).await;
                    reply.map(|_| Told::Done)
                }
            }
        };
        match tokio::time::timeout(CALL_LIMIT, told).await {
            Ok(Ok(told)) => told,
            Ok(Err(status)) => judge(&status),
            Err(_) => Told::Lost("no answer in time".to_owned()),
        }
    }
}

async fn watch(channel: Channel) -> Result<Watch, String> {
    let request = HealthCheckRequest {
        service: CONTROLLER_SERVICE.to_owned(),
    };
    let mut stream = match HealthClient::new(channel).watch(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => {
            return Ok(None);
        }
        Err(status) => return Err(status.message().to_owned()),
    };
    match stream.message().await {
        Ok(Some(health)) if health.status() == ServingStatus::Serving => Ok(Some(stream)),
        Ok(_) => Err("it says that it is not serving".to_owned()),
        Err(status) => Err(status.message().to_owned()),
    }
}

/// Returns when the Controller has gone, or says that it goes.
pub(crate) async fn until_gone(watch: Watch) {
    let Some(mut stream) = watch else {
        return std::future::pending().await;
    };
    while let Ok(Some(health)) = stream.message().await {
        if health.status() != ServingStatus::Serving {
            return;
        }
    }
}

fn judge(status: &Status) -> Told {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Told::Refused(text),
        _ => Told::Lost(text),
    }
}

/// The innermost cause, which says what happened where the outer ones say that something did.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
