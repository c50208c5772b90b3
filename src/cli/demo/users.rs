//! Users of the demo: real WebSocket clients who write down what they receive.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use million::framework::{Io, Services};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::super::error::CliError;
use super::system::LIMIT;

/// A user whose node has gone looks for another this often, until there is one.
const RECONNECT: Duration = Duration::from_millis(20);

/// A message as one user received it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    /// The number of the message, which it carries as `seq`.
    pub(super) number: u32,
    pub(super) at: Instant,
}

/// What all users have in common.
struct Shared {
    /// Where one can connect now.
    entrances: watch::Sender<Vec<SocketAddr>>,
    /// On which node each user is, once it is in its room there.
    places: Mutex<Vec<Option<SocketAddr>>>,
    /// How many messages all have received.
    received: AtomicU64,
}

impl Shared {
    fn present(&self) -> usize {
        let entrances = self.entrances.borrow();
        let places = self.places.lock();
        places
            .iter()
            .flatten()
            .filter(|place| entrances.contains(place))
            .count()
    }
}

pub(super) struct Users {
    shared: Arc<Shared>,
    users: Vec<User>,
    rooms: u32,
    services: Services,
}

struct User {
    /// Closed, it tells the user to go.
    leave: mpsc::Sender<()>,
    diary: Io<Vec<Receipt>>,
}

/// The room of user `index`.
pub(super) fn room_of(index: u32, rooms: u32) -> u32 {
    index % rooms
}

pub(super) fn room_name(room: u32) -> String {
    format!("room-{room}")
}

impl Users {
    /// Connects `count` users and waits until all are in their rooms.
    pub(super) async fn connect(
        services: &Services,
        count: u32,
        rooms: u32,
        entrances: &[SocketAddr],
    ) -> Result<Self, CliError> {
        let shared = Arc::new(Shared {
            entrances: watch::Sender::new(entrances.to_vec()),
            places: Mutex::new(vec![None; count as usize]),
            received: AtomicU64::new(0),
        });
        let users = (0..count)
            .map(|index| {
                let (leave, left) = mpsc::channel(1);
                let room = room_name(room_of(index, rooms));
                User {
                    leave,
                    diary: services.io(live(services.clone(), index, room, shared.clone(), left)),
                }
            })
            .collect();
        let users = Self {
            shared,
            users,
            rooms,
            services: services.clone(),
        };
        users.all_present().await?;
        Ok(users)
    }

    /// Tells where one can connect from now on.
    pub(super) fn set_entrances(&self, entrances: Vec<SocketAddr>) {
        self.shared.entrances.send_replace(entrances);
    }

    /// Waits until every user is in its room, on a node where one can connect now.
    pub(super) async fn all_present(&self) -> Result<(), CliError> {
        let begun = self.services.now();
        loop {
            let present = self.shared.present();
            if present == self.users.len() {
                return Ok(());
            }
            if self.services.now() - begun > LIMIT {
                return Err(CliError::Demo(format!(
                    "only {present} of {} users reached their rooms within {LIMIT:?}; if the log tells of too many open files, raise `ulimit -n`",
                    self.users.len()
                )));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(super) fn rooms(&self) -> u32 {
        self.rooms
    }

    /// How many messages all users have received so far.
    pub(super) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// How many users a message is for: all, or those of a room.
    pub(super) fn audience(&self, room: Option<u32>) -> u64 {
        let count = u32::try_from(self.users.len()).unwrap_or(u32::MAX);
        match room {
            None => u64::from(count),
            Some(room) => (0..count)
                .filter(|index| room_of(*index, self.rooms) == room)
                .count() as u64,
        }
    }

    /// Lets every user go in order, so that what is on its way still arrives, and collects what each wrote down.
    pub(super) async fn diaries(self) -> Result<Vec<Vec<Receipt>>, CliError> {
        let mut diaries = Vec::with_capacity(self.users.len());
        let (leaves, users): (Vec<_>, Vec<_>) = self
            .users
            .into_iter()
            .map(|user| (user.leave, user.diary))
            .unzip();
        drop(leaves);
        for diary in users {
            let diary = diary
                .await
                .map_err(|error| CliError::Demo(format!("a user: {error}")))?;
            diaries.push(diary);
        }
        Ok(diaries)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The life of one user: in its room, wherever there is a node, until told to leave.
async fn live(
    services: Services,
    index: u32,
    room: String,
    shared: Arc<Shared>,
    mut leave: mpsc::Receiver<()>,
) -> Vec<Receipt> {
    let mut diary = Vec::new();
    let mut attempt = index as usize;
    loop {
        let entrance = {
            let entrances = shared.entrances.borrow();
            entrances.get(attempt % entrances.len().max(1)).copied()
        };
        if let Some(entrance) = entrance {
            let url = format!("ws://{entrance}/ws?user_id=user-{index}&user_name=User%20{index}");
            match connect_async(&url).await {
                Ok((socket, _)) => {
                    let place = Place {
                        shared: &shared,
                        index: index as usize,
                        entrance,
                    };
                    if stay(&services, socket, &room, place, &mut leave, &mut diary).await {
                        return diary;
                    }
                }
                Err(error) => tracing::debug!(%entrance, %error, "a user could not connect"),
            }
        }
        attempt += 1;
        tokio::select! {
            _ = leave.recv() => return diary,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

/// Where a user is; given up when dropped.
struct Place<'a> {
    shared: &'a Shared,
    index: usize,
    entrance: SocketAddr,
}

impl Place<'_> {
    fn take(&self) {
        self.shared.places.lock()[self.index] = Some(self.entrance);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.places.lock()[self.index] = None;
    }
}

/// In the room on one connection. Returns whether the user left by itself.
async fn stay(
    services: &Services,
    mut socket: Socket,
    room: &str,
    place: Place<'_>,
    leave: &mut mpsc::Receiver<()>,
    diary: &mut Vec<Receipt>,
) -> bool {
    let join = serde_json::json!({"type": "join", "room_id": room}).to_string();
    if socket.send(Message::text(join)).await.is_err() {
        return false;
    }
    let mut leaving = false;
    loop {
        let frame = tokio::select! {
            _ = leave.recv(), if !leaving => {
                leaving = true;
                // The node answers with what is queued, and then its own close.
                if socket.close(None).await.is_err() {
                    break;
                }
                continue;
            }
            frame = socket.next() => frame,
        };
        let Some(Ok(frame)) = frame else { break };
        let Message::Text(text) = frame else { continue };
        let at = services.now();
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            tracing::warn!(%text, "a user received a frame that is not JSON");
            continue;
        };
        match frame["type"].as_str() {
            Some("joined") => place.take(),
            Some("message") => {
                let number = frame["seq"]
                    .as_u64()
                    .and_then(|seq| u32::try_from(seq).ok());
                if let Some(number) = number {
                    diary.push(Receipt { number, at });
                    place.shared.received.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some("error") => tracing::warn!(%text, "a user was refused"),
            _ => {}
        }
    }
    leaving
}
