//! Requests for keys that are answered where they were read.

use bytes::Bytes;
use prost::Message;
use tonic::codegen::http::{HeaderMap, HeaderName, request};

use super::wire;
use crate::etcd_service::embedded::kv_service::KvService;
use crate::etcd_service::embedded::refusal::Refusal;

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What a request does to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Range,
    Put,
    Delete,
    Txn,
    Compact,
}

/// The message of an answer, or why there is none.
pub(super) type Answer = Result<Bytes, Refusal>;

impl Verb {
    /// What a request does, if it can be answered at once when its message is there.
    pub(super) fn of(request: &request::Parts) -> Option<Self> {
        let verb = match request.uri.path().strip_prefix("/etcdserverpb.KV/")? {
            "Range" => Self::Range,
            "Put" => Self::Put,
            "DeleteRange" => Self::Delete,
            "Txn" => Self::Txn,
            "Compact" => Self::Compact,
            _ => return None,
        };
        is_plain(&request.headers).then_some(verb)
    }

    /// Answers a request whose body is `data`; `None` if that is not the message of such a request.
    pub(super) fn answer(self, kv: &KvService, data: &[u8]) -> Option<Answer> {
        Some(match self {
            Self::Range => told(kv.answer_range(wire::decode(data)?)),
            Self::Put => told(kv.answer_put(wire::decode(data)?)),
            Self::Delete => told(kv.answer_delete(wire::decode(data)?)),
            Self::Txn => told(kv.answer_txn(wire::decode(data)?)),
            Self::Compact => told(kv.answer_compact(wire::decode(data)?)),
        })
    }
}

fn told(answer: Result<impl Message, Refusal>) -> Answer {
    wire::encode(&answer?)
}

/// Whether its messages are not compressed.
fn is_plain(headers: &HeaderMap) -> bool {
    !headers.contains_key(ENCODING)
}
