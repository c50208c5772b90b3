//! The JSON frames between a user and the node. `mod.rs` has the table of them.

use std::collections::BTreeMap;

use axum::extract::ws::Utf8Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::services::generated::pubsub::MessageType;

use super::messages::{Audience, Payload};

/// The longest id of a user or a room and the longest name of a user, in bytes. The Controller takes no longer ones.
pub(crate) const MAX_ID_BYTES: usize = 256;

/// What a user sends.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ClientFrame {
    Join { room_id: String },
    Leave { room_id: String },
    Ping,
}

impl ClientFrame {
    /// Reads a frame. The error is a sentence for the user.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = r#"expected {"type":"join","room_id":"…"}, {"type":"leave","room_id":"…"} or {"type":"ping"}"#;
        let frame: Self =
            serde_json::from_str(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
        if let Self::Join { room_id } | Self::Leave { room_id } = &frame {
            check_id("room_id", room_id)?;
        }
        Ok(frame)
    }
}

/// Whether `value` can be an id. The error is a sentence for the user.
pub(crate) fn check_id(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{field} is empty; expected a name"));
    }
    if value.len() > MAX_ID_BYTES {
        return Err(format!(
            "{field} has {} bytes; expected {MAX_ID_BYTES} at most",
            value.len()
        ));
    }
    Ok(())
}

/// What the node answers a user.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Answer<'a> {
    Joined { room_id: &'a str },
    Left { room_id: &'a str },
    Pong,
    Error { message: &'a str },
}

impl Answer<'_> {
    pub(crate) fn to_frame(&self) -> Utf8Bytes {
        to_text(self)
    }
}

/// Writes a message as its users will see it.
pub(crate) fn message(audience: &Audience, payload: &Payload) -> Utf8Bytes {
    let audience_room = match audience {
        Audience::Room(room_id) | Audience::UsersInRoom(_, room_id) => Some(&**room_id),
        Audience::Everyone | Audience::Users(_) => None,
    };
    let (room_id, from, content) = match payload {
        Payload::Proto(proto) => (
            audience_room.or(named(&proto.roomid)),
            named(&proto.userid),
            Content::Proto {
                ver: proto.ver,
                op: proto.op,
                seq: proto.seq,
                body: Data::of(&proto.body),
            },
        ),
        Payload::Content(content) => (
            audience_room,
            None,
            Content::Typed {
                content: Typed {
                    kind: content.r#type().as_str_name(),
                    data: Data::of(&content.data),
                    timestamp: content.timestamp,
                    metadata: content
                        .metadata
                        .iter()
                        .map(|(key, value)| (&**key, &**value))
                        .collect(),
                },
            },
        ),
    };
    to_text(&Message {
        kind: "message",
        room_id,
        from,
        content,
    })
}

fn named(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn to_text(frame: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(frame)
        .expect("frames are texts, numbers and maps with text keys, all of which JSON can write")
        .into()
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    room_id: Option<&'a str>,
    from: Option<&'a str>,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Proto {
        ver: i32,
        op: i32,
        seq: i32,
        #[serde(flatten, serialize_with = "Data::as_body")]
        body: Data<'a>,
    },
    Typed {
        content: Typed<'a>,
    },
}

#[derive(Serialize)]
struct Typed<'a> {
    /// A type of a newer sender reads as TEXT, the default.
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten, serialize_with = "Data::as_data")]
    data: Data<'a>,
    timestamp: i64,
    metadata: BTreeMap<&'a str, &'a str>,
}

/// Bytes as JSON can hold them.
enum Data<'a> {
    Text(&'a str),
    Base64(String),
}

impl<'a> Data<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    fn as_body<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entry("body", "body_base64", serializer)
    }

    fn as_data<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entry("data", "data_base64", serializer)
    }

    fn entry<S: serde::Serializer>(
        &self,
        text_key: &str,
        base64_key: &str,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Text(text) => (text_key, *text),
            Self::Base64(text) => (base64_key, &**text),
        };
        serializer.collect_map([(key, value)])
    }
}

const _: () = assert!(
    MessageType::Text as i32 == 0,
    "the default of `Typed::kind`"
);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::bytes::Bytes;
    use serde_json::{Value, json};

    use crate::services::generated::protocol::Proto;
    use crate::services::generated::pubsub::MessageContent;

    use super::*;

    fn json_of(audience: &Audience, payload: Payload) -> Value {
        serde_json::from_str(&message(audience, &payload)).unwrap()
    }

    #[test]
    fn messages_read_as_documented() {
        let proto = Proto {
            ver: 1,
            op: -2,
            seq: 3,
            roomid: String::new(),
            userid: "ann".to_owned(),
            body: Bytes::from_static(b"say \"hi\"\n"),
        };
        let room = Audience::Room("r".to_owned());
        assert_eq!(
            json_of(&room, Payload::Proto(proto.clone())),
            json!({"type":"message","room_id":"r","from":"ann","ver":1,"op":-2,"seq":3,"body":"say \"hi\"\n"})
        );
        let odd = Proto {
            body: Bytes::from_static(&[0xff, 0x00]),
            userid: String::new(),
            ..proto
        };
        assert_eq!(
            json_of(&Audience::Everyone, Payload::Proto(odd)),
            json!({"type":"message","room_id":null,"from":null,"ver":1,"op":-2,"seq":3,"body_base64":"/wA="})
        );
        let content = MessageContent {
            r#type: MessageType::System as i32,
            data: Bytes::from_static(b"bye"),
            timestamp: 5,
            metadata: HashMap::from([("k".to_owned(), "v".to_owned())]),
        };
        assert_eq!(
            json_of(&room, Payload::Content(content)),
            json!({"type":"message","room_id":"r","from":null,
                "content":{"type":"SYSTEM","data":"bye","timestamp":5,"metadata":{"k":"v"}}})
        );
    }

    #[test]
    fn a_bad_frame_is_told_what_is_wrong_and_what_is_expected() {
        for (text, wrong) in [
            ("hello", "expected value"),
            ("[]", "expected"),
            ("{}", "missing field `type`"),
            (r#"{"type":"dance"}"#, "unknown variant `dance`"),
            (r#"{"type":"join"}"#, "missing field `room_id`"),
            (r#"{"type":"join","room_id":7}"#, "invalid type"),
        ] {
            let error = ClientFrame::parse(text).unwrap_err();
            assert!(error.contains(wrong), "{text}: {error}");
            assert!(error.contains(r#"{"type":"ping"}"#), "{text}: {error}");
        }
        let error = ClientFrame::parse(r#"{"type":"join","room_id":""}"#).unwrap_err();
        assert_eq!(error, "room_id is empty; expected a name");
    }
}
