//! The Connect-Node as a service: who is connected and in which room, and whose queue each message goes into.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::ws::Utf8Bytes;

use crate::framework::{Cx, Handle, Handler, Service};
use crate::services::generated::pubsub::Acknowledgement;

use super::controller_client::{Changed, ControllerClient};
use super::delivery;
use super::frames;
use super::membership::Change;
use super::messages::{
    Admit, CloseAll, Connect, Deliver, Disconnect, Join, Joined, Leave, NodeStats, Placed, Push,
    Stats,
};
use super::outbox::{Farewell, Offer};
use super::settings::ConnectNodeSettings;
use super::table::{ConnectionId, Table, User};

/// Frames handed out in one go by [`Deliver`], before others have their turn: some tenths of a millisecond.
const FRAMES_A_TURN: usize = 4096;

/// Holds the table of users and rooms. Users reach it through their connections, push managers through gRPC.
pub struct ConnectNode {
    table: Table,
    controller: Handle<ControllerClient>,
    stopping: bool,
    delivered: u64,
    dropped: u64,
}

impl ConnectNode {
    pub(crate) fn new(
        settings: &ConnectNodeSettings,
        controller: Handle<ControllerClient>,
    ) -> Self {
        Self {
            table: Table::new(settings.max_users()),
            controller,
            stopping: false,
            delivered: 0,
            dropped: 0,
        }
    }

    fn push(&mut self, push: &Push) -> Placed {
        let mut placed = Placed::default();
        let mut missing = Vec::new();
        let mut full = Vec::new();
        let mut frame: Option<Utf8Bytes> = None;
        let named = matches!(
            push.audience,
            super::Audience::Users(_) | super::Audience::UsersInRoom(..)
        );
        let visit = |user: &User| {
            let frame = frame.get_or_insert_with(|| frames::message(&push.audience, &push.payload));
            match user.outbox.offer(frame.clone()) {
                Offer::Taken => placed.delivered += 1,
                Offer::Full => {
                    placed.full += 1;
                    if named {
                        full.push(user.id.to_string());
                    }
                }
                Offer::Gone if named => full.push(user.id.to_string()),
                Offer::Gone => {}
            }
        };
        self.table
            .visit(&push.audience, &push.exclude, visit, |name| {
                missing.push(name.to_owned());
            });
        missing.append(&mut full);
        placed.missed = missing;
        self.delivered += placed.delivered as u64;
        self.dropped += placed.full as u64;
        placed
    }
}

impl Service for ConnectNode {}

impl Handler<Push> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Push) -> Placed {
        cx.state().push(&message)
    }
}

impl Handler<Deliver> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Deliver) -> Vec<Acknowledgement> {
        let mut acknowledgements = Vec::with_capacity(message.deliveries.len());
        let mut handed_out = 0;
        for delivery in message.deliveries {
            let waited = cx
                .services()
                .now()
                .saturating_duration_since(message.received);
            let id = delivery.id;
            acknowledgements.push(match delivery::open(delivery, waited) {
                Err(refusal) => refusal,
                Ok(push) => {
                    let placed = cx.state().push(&push);
                    handed_out += placed.delivered + placed.full;
                    delivery::acknowledge(id, &placed)
                }
            });
            if handed_out >= FRAMES_A_TURN {
                handed_out = 0;
                tokio::task::yield_now().await;
            }
        }
        acknowledgements
    }
}

impl Handler<Admit> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Admit) -> Result<(), Farewell> {
        let state = cx.state();
        match (state.stopping, state.table.admits(&message.user_id)) {
            (true, _) => Err(Farewell::STOPPING),
            (false, false) => Err(Farewell::FULL),
            (false, true) => Ok(()),
        }
    }
}

impl Handler<Connect> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Connect) -> Result<ConnectionId, Farewell> {
        let (connection, changes) = {
            let mut state = cx.state();
            if state.stopping {
                return Err(Farewell::STOPPING);
            }
            let (connection, replaced) = state
                .table
                .connect(&message.user_id, message.user_name, message.outbox)
                .ok_or(Farewell::FULL)?;
            let changes = replaced.map_or_else(Vec::new, |old| {
                let changes = all_left(&old);
                old.outbox.close(Farewell::REPLACED);
                changes
            });
            (connection, changes)
        };
        tell_controller(cx, changes).await;
        Ok(connection)
    }
}

impl Handler<Join> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Join) -> Joined {
        let now = cx.services().now();
        let (joined, changes) = {
            let mut state = cx.state();
            let joined = state.table.join(message.connection, &message.room_id);
            let change = match state.table.user(message.connection) {
                Some(user) if joined == Joined::In => {
                    vec![has_joined(user, message.room_id, now)]
                }
                _ => Vec::new(),
            };
            (joined, change)
        };
        tell_controller(cx, changes).await;
        joined
    }
}

impl Handler<Leave> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Leave) -> bool {
        let (left, changes) = {
            let mut state = cx.state();
            let left = state.table.leave(message.connection, &message.room_id);
            let change = match state.table.user(message.connection) {
                Some(user) if left => vec![Change::Left {
                    user_id: Arc::clone(&user.id),
                    room_id: message.room_id.into(),
                }],
                _ => Vec::new(),
            };
            (left, change)
        };
        tell_controller(cx, changes).await;
        left
    }
}

impl Handler<Disconnect> for ConnectNode {
    async fn handle(cx: &Cx<Self>, message: Disconnect) {
        let gone = cx.state().table.disconnect(message.connection);
        if let Some(user) = gone {
            tell_controller(cx, all_left(&user)).await;
        }
    }
}

impl Handler<CloseAll> for ConnectNode {
    async fn handle(cx: &Cx<Self>, _: CloseAll) -> usize {
        let users = {
            let mut state = cx.state();
            state.stopping = true;
            state.table.disconnect_all()
        };
        let changes = users.iter().flat_map(all_left).collect();
        let count = users.len();
        for user in users {
            user.outbox.close(Farewell::STOPPING);
        }
        tell_controller(cx, changes).await;
        count
    }
}

impl Handler<Stats> for ConnectNode {
    async fn handle(cx: &Cx<Self>, _: Stats) -> NodeStats {
        let state = cx.state();
        let (users, queued) = state.table.users().fold((0, 0), |(users, queued), user| {
            (users + 1, queued + user.outbox.queued())
        });
        NodeStats {
            users,
            rooms: state.table.room_count(),
            queued,
            delivered: state.delivered,
            dropped: state.dropped,
        }
    }
}

fn has_joined(user: &User, room_id: String, at: Instant) -> Change {
    Change::Joined {
        user_id: Arc::clone(&user.id),
        room_id: room_id.into(),
        user_name: user.name.clone(),
        at,
    }
}

fn all_left(user: &User) -> Vec<Change> {
    user.rooms
        .iter()
        .map(|room| Change::Left {
            user_id: Arc::clone(&user.id),
            room_id: Arc::clone(room),
        })
        .collect()
}

/// The client takes every change at once, whether the Controller is there or not, so this waits for no network.
async fn tell_controller(cx: &Cx<ConnectNode>, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    let controller = cx.state().controller.clone();
    // A client that has ended can tell nobody: the node is stopping.
    let _ = controller.send(Changed(changes)).await;
}
