//! A user with a WebSocket.

use futures::{SinkExt, StreamExt};
use million::services::connect_node::RunningConnectNode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::support::SOON;

pub(crate) struct User {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl User {
    /// Connects with this query, and waits until the node knows.
    pub(crate) async fn connect(node: &RunningConnectNode, query: &str) -> Self {
        let mut user = Self::try_connect(node, query).await.unwrap();
        if query.contains("room_id") {
            let frame = user.frame().await;
            assert_eq!(frame["type"], "joined", "{frame}");
        } else {
            user.ping().await;
        }
        user
    }

    pub(crate) async fn try_connect(node: &RunningConnectNode, query: &str) -> Result<Self, Error> {
        let url = format!("ws://{}/ws?{query}", node.websocket_address());
        let (socket, _) = tokio_tungstenite::connect_async(url).await?;
        Ok(Self { socket })
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// The next message of any kind.
    pub(crate) async fn hear(&mut self) -> Option<Result<Message, Error>> {
        timeout(SOON, self.socket.next())
            .await
            .expect("nothing comes")
    }

    /// The next JSON frame.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            match self.hear().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame, but {other:?}"),
            }
        }
    }

    /// Everything that had been sent to the user, up to now.
    pub(crate) async fn frames_so_far(&mut self) -> Vec<Value> {
        self.say(json!({"type": "ping"})).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.frame().await;
            if frame["type"] == "pong" {
                return frames;
            }
            frames.push(frame);
        }
    }

    pub(crate) async fn ping(&mut self) {
        assert_eq!(self.frames_so_far().await, Vec::<Value>::new());
    }

    pub(crate) async fn join(&mut self, room: &str) {
        self.say(json!({"type": "join", "room_id": room})).await;
        assert_eq!(
            self.frame().await,
            json!({"type": "joined", "room_id": room})
        );
    }

    pub(crate) async fn leave(&mut self, room: &str) {
        self.say(json!({"type": "leave", "room_id": room})).await;
        assert_eq!(self.frame().await, json!({"type": "left", "room_id": room}));
    }

    /// The frames until the close frame, and what that says.
    pub(crate) async fn until_closed(&mut self) -> (Vec<Value>, u16, String) {
        let mut frames = Vec::new();
        loop {
            match self.hear().await {
                Some(Ok(Message::Text(text))) => frames.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(close)))) => {
                    return (frames, close.code.into(), close.reason.to_string());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no close frame, but {other:?}"),
            }
        }
    }

    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = self.hear().await {}
    }
}

/// The `seq` of each frame.
pub(crate) fn seqs(frames: &[Value]) -> Vec<i64> {
    frames
        .iter()
        .map(|frame| frame["seq"].as_i64().unwrap_or_else(|| panic!("{frame}")))
        .collect()
}
