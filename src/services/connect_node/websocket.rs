//! What browsers and apps call: the WebSocket endpoint, a page to try it, and a sign of life.

use std::collections::HashMap;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::framework::{CallError, Handle};

use super::connection::{self, Visitor};
use super::frames::{MAX_ID_BYTES, check_id};
use super::messages::Admit;
use super::outbox::Farewell;
use super::service::ConnectNode;

/// The largest frame of a user: what users send are names of rooms.
const MAX_FRAME_BYTES: usize = 64 * 1024;

/// What connections need.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) node: Handle<ConnectNode>,
    /// Frames that wait for one user.
    pub(crate) queue: usize,
    /// Counts the connections.
    pub(crate) connections: TaskTracker,
    /// Ends them all at once.
    pub(crate) cut: CancellationToken,
}

/// The routes of the WebSocket port.
pub(crate) fn router(door: Door) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/healthz", get(health))
        .route("/ws", get(connect))
        .with_state(door)
}

async fn health(State(door): State<Door>) -> Response {
    if door.node.is_closed() || door.connections.is_closed() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node is stopping\n").into_response();
    }
    "ok\n".into_response()
}

async fn connect(
    State(door): State<Door>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let visitor = match visitor(query) {
        Ok(visitor) => visitor,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong).into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let status = rejection.status();
            let wrong = format!(
                "/ws is a WebSocket endpoint, and this is no WebSocket handshake: {rejection}\n"
            );
            return (status, wrong).into_response();
        }
    };
    let admitted = door.node.call(Admit {
        user_id: visitor.user_id.clone(),
    });
    let refusal = match admitted.await {
        Ok(Ok(())) => None,
        Ok(Err(refusal)) => Some(refusal),
        Err(CallError::Timeout) => Some(Farewell::OVERLOADED),
        Err(CallError::Closed | CallError::Panicked | CallError::Cycle(_)) => {
            Some(Farewell::STOPPING)
        }
    };
    if let Some(refusal) = refusal {
        let sentence = format!("{}\n", refusal.reason);
        return (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response();
    }

    let present = door.connections.token();
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(async move |socket| {
            let serving = connection::serve(socket, visitor, door.node, door.queue);
            door.cut.run_until_cancelled(serving).await;
            drop(present);
        })
}

fn visitor(mut query: HashMap<String, String>) -> Result<Visitor, String> {
    const EXPECTED: &str = "expected /ws?user_id=…&room_id=…&user_name=…, where room_id and user_name may be left out\n";
    let told = |wrong: String| format!("{wrong}; {EXPECTED}");
    let user_id = query
        .remove("user_id")
        .ok_or_else(|| told("user_id is missing".to_owned()))?;
    check_id("user_id", &user_id).map_err(told)?;
    let room_id = query.remove("room_id").filter(|room| !room.is_empty());
    if let Some(room_id) = &room_id {
        check_id("room_id", room_id).map_err(told)?;
    }
    let user_name = query
        .remove("user_name")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| user_id.clone());
    if user_name.len() > MAX_ID_BYTES {
        return Err(told(format!(
            "user_name has {} bytes; expected {MAX_ID_BYTES} at most",
            user_name.len()
        )));
    }
    Ok(Visitor {
        user_id,
        user_name,
        room_id,
    })
}
