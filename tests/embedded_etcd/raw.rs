//! A connection over HTTP/2 itself, and messages as gRPC frames them.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_client::proto::{PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use million::etcd_service::embedded::EmbeddedEtcd;
use prost::Message;
use tokio::net::TcpStream;
use tonic::codegen::http::{HeaderMap, Request};

use super::in_time;

pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";

/// A connection of its own.
pub(super) struct Raw {
    requests: SendRequest<Bytes>,
    authority: String,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answered {
    http: u16,
    headers: HeaderMap,
    data: BytesMut,
    trailers: HeaderMap,
}

impl Raw {
    pub(super) async fn connect(etcd: &EmbeddedEtcd) -> Self {
        Self::connect_with(etcd, &h2::client::Builder::new()).await
    }

    pub(super) async fn connect_with(etcd: &EmbeddedEtcd, options: &h2::client::Builder) -> Self {
        let stream = TcpStream::connect(etcd.address())
            .await
            .expect("it listens");
        stream.set_nodelay(true).expect("it is a TCP stream");
        let (requests, connection) = options.handshake(stream).await.expect("it is HTTP/2");
        tokio::spawn(async move {
            // What ends it is seen by the requests.
            let _ = connection.await;
        });
        Self {
            requests,
            authority: etcd.address().to_string(),
        }
    }

    pub(super) async fn open(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let uri = format!("http://{}{path}", self.authority);
        let mut request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("it is a fine request");
        let mut requests = self.requests.clone().ready().await.expect("it is open");
        requests.send_request(request, false).expect("it is open")
    }

    pub(super) async fn call(&self, path: &str, data: Bytes) -> Answered {
        self.call_with(path, &[], data).await
    }

    pub(super) async fn call_with(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
        data: Bytes,
    ) -> Answered {
        let (response, mut stream) = self.open(path, headers).await;
        stream.send_data(data, true).expect("the stream is open");
        in_time(answered(response)).await
    }

    pub(super) async fn put(&self, key: &str, value: &str) -> i64 {
        revision(&self.call(PUT, put(key, value)).await)
    }

    pub(super) async fn get(&self, key: &str) -> Option<String> {
        let answer = self.call(RANGE, range(key)).await;
        let found: PbRangeResponse = answer.message();
        let value = found.kvs.into_iter().next()?.value;
        Some(String::from_utf8(value).expect("it was text"))
    }
}

impl Answered {
    pub(super) fn message<M: Message + Default>(&self) -> M {
        assert_eq!(self.status(), (0, String::new()));
        M::decode(&self.data[5..]).expect("it decodes")
    }

    /// The status, which is in the trailers, or in the headers if there is nothing else.
    pub(super) fn status(&self) -> (u32, String) {
        assert_eq!(self.http, 200);
        assert_eq!(self.headers["content-type"], "application/grpc");
        let at = if self.headers.contains_key("grpc-status") {
            assert!(self.data.is_empty() && self.trailers.is_empty(), "{self:?}");
            &self.headers
        } else {
            &self.trailers
        };
        let text = |name| at.get(name).map(|text| text.to_str().expect("it is text"));
        let code = text("grpc-status").expect("it has a status");
        (
            code.parse().expect("it is a number"),
            text("grpc-message").unwrap_or_default().to_owned(),
        )
    }
}

pub(super) async fn answered(response: ResponseFuture) -> Answered {
    try_answered(response).await.expect("it is answered")
}

pub(super) async fn try_answered(response: ResponseFuture) -> Result<Answered, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut data = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        data.extend_from_slice(&piece);
    }
    Ok(Answered {
        http: head.status.as_u16(),
        headers: head.headers,
        data,
        trailers: body.trailers().await?.unwrap_or_default(),
    })
}

pub(super) fn framed(flag: u8, message: &impl Message) -> Bytes {
    let mut data = BytesMut::new();
    data.put_u8(flag);
    data.put_u32(u32::try_from(message.encoded_len()).expect("it is short"));
    message.encode(&mut data).expect("there is room");
    data.freeze()
}

pub(super) fn put(key: &str, value: &str) -> Bytes {
    let request = PbPutRequest {
        key: key.into(),
        value: value.into(),
        ..PbPutRequest::default()
    };
    framed(0, &request)
}

pub(super) fn range(key: &str) -> Bytes {
    let request = PbRangeRequest {
        key: key.into(),
        ..PbRangeRequest::default()
    };
    framed(0, &request)
}

pub(super) fn revision(answer: &Answered) -> i64 {
    let put: PbPutResponse = answer.message();
    put.header.expect("it has a header").revision
}
