//! Messages and answers as gRPC puts them into HTTP/2.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use prost::Message;
use tonic::Status;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::etcd_service::embedded::options::MAX_MESSAGE_BYTES;
use crate::etcd_service::embedded::refusal::Refusal;

/// What stands before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");

/// Decodes the one message of a request; `None` if that is not what `data` is.
pub(super) fn decode<M: Message + Default>(data: &[u8]) -> Option<M> {
    let (mut head, message) = data.split_at_checked(HEAD_BYTES)?;
    let plain = head.get_u8() == 0;
    let length = usize::try_from(head.get_u32()).ok()?;
    if !plain || length != message.len() || length > MAX_MESSAGE_BYTES {
        return None;
    }
    M::decode(message).ok()
}

/// Encodes the message of an answer.
///
/// # Errors
///
/// [`Refusal::AnswerTooLarge`], when it is longer than a message can be.
pub(super) fn encode(message: &impl Message) -> Result<Bytes, Refusal> {
    let bytes = message.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| Refusal::AnswerTooLarge { bytes })?;
    let mut data = BytesMut::with_capacity(HEAD_BYTES + bytes);
    data.put_u8(0);
    data.put_u32(length);
    message.encode_raw(&mut data);
    Ok(data.freeze())
}

/// Sends an answer, or why there is none. `h2` keeps what its client has no room for yet.
pub(super) fn tell(answer: Result<Bytes, Refusal>, to: SendResponse<Bytes>) {
    let sent = match answer {
        Ok(message) => send(message, to),
        Err(refusal) => refuse(refusal.into(), to),
    };
    if let Err(error) = sent {
        tracing::trace!(%error, "nobody waits for an answer any more");
    }
}

fn send(message: Bytes, mut to: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    let mut stream = to.send_response(response, false)?;
    stream.send_data(message, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, OK);
    stream.send_trailers(trailers)
}

fn refuse(status: Status, mut to: SendResponse<Bytes>) -> Result<(), h2::Error> {
    to.send_response(status.into_http::<()>(), true).map(drop)
}

#[cfg(test)]
mod tests {
    use etcd_client::proto::PbPutRequest;

    use super::*;

    fn request() -> PbPutRequest {
        PbPutRequest {
            key: b"k".to_vec(),
            value: b"value".to_vec(),
            ..PbPutRequest::default()
        }
    }

    #[test]
    fn a_message_is_decoded_as_it_was_encoded() {
        let data = encode(&request()).expect("it is short");
        assert_eq!(decode::<PbPutRequest>(&data), Some(request()));
    }

    #[test]
    fn what_is_not_one_plain_message_is_not_decoded() {
        let data = encode(&request()).expect("it is short");
        for length in 0..data.len() {
            assert_eq!(decode::<PbPutRequest>(&data[..length]), None);
        }
        let twice = [&data[..], &data[..]].concat();
        assert_eq!(decode::<PbPutRequest>(&twice), None);
        let mut compressed = data.to_vec();
        compressed[0] = 1;
        assert_eq!(decode::<PbPutRequest>(&compressed), None);
        let mut broken = data.to_vec();
        broken[HEAD_BYTES..].fill(0xff);
        assert_eq!(decode::<PbPutRequest>(&broken), None);
    }
}
