//! One user's WebSocket, from its beginning to its end.
//!
//! One task reads and writes it. While a write waits for a slow user nothing is read from that user, so one who sends and does not
//! read fills nothing but the own queue.

use std::pin::pin;
use std::time::Duration;

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures::{SinkExt, StreamExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::framework::{CallError, Handle};

use super::frames::{Answer, ClientFrame};
use super::heartbeat::{Beat, Heartbeat, SILENCE_LIMIT};
use super::messages::{Connect, Disconnect, Join, Joined, Leave};
use super::outbox::{self, Farewell, Inbox};
use super::service::ConnectNode;
use super::table::{ConnectionId, MAX_ROOMS_OF_A_USER};

/// Frames that are written before the next flush: one system call for many small frames.
const FRAMES_A_FLUSH: usize = 64;
/// How long a connection that is to be closed may still take to write its queue: a second or two on a phone, with a margin.
const CLOSING_LIMIT: Duration = Duration::from_secs(5);
/// How long the user may take to answer a close frame.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// Who connects, and with what.
pub(crate) struct Visitor {
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) room_id: Option<String>,
}

/// How a conversation ended.
enum End {
    /// The user is gone, or cannot be written to.
    Gone,
    /// The node ends it.
    Farewell(Farewell),
}

/// Serves `socket` until either side ends it.
pub(crate) async fn serve(
    mut socket: WebSocket,
    visitor: Visitor,
    node: Handle<ConnectNode>,
    queue: usize,
) {
    let (outbox, inbox) = outbox::queue(queue);
    let connected = node
        .call(Connect {
            user_id: visitor.user_id,
            user_name: visitor.user_name,
            outbox,
        })
        .await;
    let connection = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(farewell)) => return say_goodbye(&mut socket, farewell).await,
        Err(error) => return say_goodbye(&mut socket, farewell_for(error)).await,
    };

    let mut farewell = inbox.farewell.clone();
    let mut conversation = Conversation {
        socket,
        inbox,
        node: node.clone(),
        connection,
        heartbeat: Heartbeat::new(Instant::now().into_std()),
    };
    let too_late = async move {
        // An error means that the node has ended without a word, which ends the conversation as well.
        let _ = farewell.wait_for(Option::is_some).await;
        sleep(CLOSING_LIMIT).await;
    };
    let talk = conversation.talk(visitor.room_id);
    tokio::select! {
        () = talk => {}
        () = too_late => {}
    }
    // A node that has ended has forgotten the connection anyway.
    let _ = node.send(Disconnect { connection }).await;
}

fn farewell_for(error: CallError) -> Farewell {
    match error {
        CallError::Closed | CallError::Panicked | CallError::Cycle(_) => Farewell::STOPPING,
        CallError::Timeout => Farewell::OVERLOADED,
    }
}

struct Conversation {
    socket: WebSocket,
    inbox: Inbox,
    node: Handle<ConnectNode>,
    connection: ConnectionId,
    heartbeat: Heartbeat,
}

impl Conversation {
    async fn talk(&mut self, room_id: Option<String>) {
        let mut end = match room_id {
            Some(room_id) => self.join(room_id).await,
            None => Ok(()),
        };
        while end.is_ok() {
            end = self.turn().await;
        }
        if let Err(End::Farewell(farewell)) = end {
            say_goodbye(&mut self.socket, farewell).await;
        }
    }

    /// Waits for one thing to happen, and does what it asks for.
    async fn turn(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let next = match self.heartbeat.beat(now.into_std()) {
            Beat::Wait(until) => Instant::from_std(until),
            Beat::Ping => return self.write(Message::Ping(Default::default())).await,
            Beat::GiveUp => return Err(End::Gone),
        };
        tokio::select! {
            frame = self.inbox.frames.recv() => match frame {
                Some(frame) => self.write_queued(frame, FRAMES_A_FLUSH).await,
                None => Err(End::Farewell(self.farewell())),
            },
            message = self.socket.next() => {
                self.heartbeat.heard(Instant::now().into_std());
                match message {
                    Some(Ok(message)) => self.hear(message).await,
                    Some(Err(error)) => Err(self.misheard(&error)),
                    None => Err(End::Gone),
                }
            }
            () = sleep_until(next) => Ok(()),
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                return self
                    .complain("binary frames mean nothing here; expected JSON in a text frame")
                    .await;
            }
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => {
                // Reading on is what sends the answer to it.
                let until_closed = async { while self.socket.next().await.is_some() {} };
                let _ = timeout(GOODBYE_LIMIT, until_closed).await;
                return Err(End::Gone);
            }
        };
        match ClientFrame::parse(&text) {
            Ok(ClientFrame::Join { room_id }) => self.join(room_id).await,
            Ok(ClientFrame::Leave { room_id }) => self.leave(room_id).await,
            Ok(ClientFrame::Ping) => {
                self.write_what_waits().await?;
                self.answer(&Answer::Pong).await
            }
            Err(wrong) => self.complain(&wrong).await,
        }
    }

    async fn join(&mut self, room_id: String) -> Result<(), End> {
        let joining = self.node.call(Join {
            connection: self.connection,
            room_id: room_id.clone(),
        });
        match joining.await {
            // Messages of the room lie in the queue, which is written after this.
            Ok(Joined::In) => self.answer(&Answer::Joined { room_id: &room_id }).await,
            Ok(Joined::TooMany) => {
                let wrong = format!(
                    "you are in {MAX_ROOMS_OF_A_USER} rooms, as many as one user may be; leave one before you join {room_id:?}"
                );
                self.complain(&wrong).await
            }
            Ok(Joined::Gone) => Ok(()),
            Err(error) => self.unanswered(error).await,
        }
    }

    async fn leave(&mut self, room_id: String) -> Result<(), End> {
        let leaving = self.node.call(Leave {
            connection: self.connection,
            room_id: room_id.clone(),
        });
        match leaving.await {
            Ok(true) => {
                // The last messages of the room lie in the queue.
                self.write_what_waits().await?;
                self.answer(&Answer::Left { room_id: &room_id }).await
            }
            Ok(false) => {
                let wrong =
                    format!("you are not in the room {room_id:?}; join it before you leave it");
                self.complain(&wrong).await
            }
            Err(error) => self.unanswered(error).await,
        }
    }

    async fn unanswered(&mut self, error: CallError) -> Result<(), End> {
        match error {
            CallError::Timeout => self.complain("the node is overloaded; try again").await,
            CallError::Closed | CallError::Panicked | CallError::Cycle(_) => {
                Err(End::Farewell(farewell_for(error)))
            }
        }
    }

    async fn answer(&mut self, answer: &Answer<'_>) -> Result<(), End> {
        self.write(Message::Text(answer.to_frame())).await
    }

    async fn complain(&mut self, message: &str) -> Result<(), End> {
        self.answer(&Answer::Error { message }).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        within_silence(self.socket.send(message)).await
    }

    /// Writes all that is queued now.
    async fn write_what_waits(&mut self) -> Result<(), End> {
        let waiting = self.inbox.frames.len();
        match self.inbox.frames.try_recv() {
            Ok(frame) => self.write_queued(frame, waiting).await,
            Err(_) => Ok(()),
        }
    }

    /// Writes `frame` and those queued behind it, `most` in all.
    async fn write_queued(&mut self, frame: Utf8Bytes, most: usize) -> Result<(), End> {
        let mut next = Some(frame);
        let mut written = 0;
        while let Some(frame) = next.take() {
            within_silence(self.socket.feed(Message::Text(frame))).await?;
            written += 1;
            if written < most {
                next = self.inbox.frames.try_recv().ok();
            }
        }
        within_silence(self.socket.flush()).await
    }

    fn farewell(&self) -> Farewell {
        self.inbox.farewell.borrow().unwrap_or(Farewell::STOPPING)
    }

    fn misheard(&self, error: &Error) -> End {
        use tokio_tungstenite::tungstenite::error::Error as Cause;
        let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref());
        match cause {
            Some(Cause::Capacity(_)) => End::Farewell(Farewell::TOO_LONG),
            _ => End::Gone,
        }
    }
}

/// A user whose socket takes nothing for that long is as silent as one who says nothing.
async fn within_silence(writing: impl Future<Output = Result<(), Error>>) -> Result<(), End> {
    match timeout(SILENCE_LIMIT, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}

/// Sends a close frame and waits for the user's, so that the last frames are not lost with the connection.
async fn say_goodbye(socket: &mut WebSocket, farewell: Farewell) {
    let goodbye = async {
        let frame = CloseFrame {
            code: farewell.code,
            reason: farewell.reason.into(),
        };
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(GOODBYE_LIMIT, pin!(goodbye)).await;
}
