//! The KV service: lock, apply, unlock, copy.
//!
//! Each request is a plain function of its message, for the transport answers most of them without a future.

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService,
    PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse,
    PbTxnRequest, PbTxnResponse,
};
use futures::Stream;
use futures::stream;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};

use super::options::{MAX_REQUEST_BYTES, MAX_TXN_OPS};
use super::refusal::Refusal;
use super::shared::Shared;
use super::store::{check_delete, check_put};
use super::txn::{self, Checked};

/// The largest message that reaches an etcd: its largest request, and what it allows for what gRPC adds to it.
const MAX_ETCD_MESSAGE_BYTES: usize = MAX_REQUEST_BYTES + 512 * 1024;

/// Keys in one piece of a streamed range: a piece of small keys stays far below a client's message limit.
const STREAM_CHUNK: usize = 1000;

#[derive(Clone, Debug)]
pub(super) struct KvService {
    pub(super) shared: Arc<Shared>,
}

impl KvService {
    pub(super) fn answer_range(&self, request: PbRangeRequest) -> Result<PbRangeResponse, Refusal> {
        let answer = self.shared.read(|store| store.range(request))?;
        let header = self.shared.header(answer.revision);
        Ok(answer.into_proto(header))
    }

    pub(super) fn answer_put(&self, request: PbPutRequest) -> Result<PbPutResponse, Refusal> {
        check_size(&request, check_put)?;
        let answer = self.shared.write(|store| store.put(request))?;
        let header = self.shared.header(answer.revision);
        Ok(answer.into_proto(header))
    }

    pub(super) fn answer_delete(
        &self,
        request: PbDeleteRequest,
    ) -> Result<PbDeleteResponse, Refusal> {
        check_size(&request, check_delete)?;
        let answer = self.shared.write(|store| store.delete(request))?;
        let header = self.shared.header(answer.revision);
        Ok(answer.into_proto(header))
    }

    pub(super) fn answer_txn(&self, request: PbTxnRequest) -> Result<PbTxnResponse, Refusal> {
        check_size(&request, |request| txn::check(request, MAX_TXN_OPS))?;
        let checked = Checked::new(request, MAX_TXN_OPS)?;
        let answer = self.shared.write(|store| store.txn(checked))?;
        let header = self.shared.header(answer.revision);
        Ok(answer.into_proto(header))
    }

    pub(super) fn answer_compact(
        &self,
        request: PbCompactionRequest,
    ) -> Result<PbCompactionResponse, Refusal> {
        let revision = self.shared.write(|store| store.compact(request))?;
        Ok(PbCompactionResponse {
            header: Some(self.shared.header(revision)),
        })
    }
}

#[async_trait]
impl PbKvService for KvService {
    async fn range(
        &self,
        request: Request<PbRangeRequest>,
    ) -> Result<Response<PbRangeResponse>, Status> {
        Ok(Response::new(self.answer_range(request.into_inner())?))
    }

    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<PbRangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let pieces = split(self.answer_range(request.into_inner())?);
        Ok(Response::new(Box::pin(stream::iter(
            pieces.into_iter().map(|piece| {
                Ok(PbRangeStreamResponse {
                    range_response: Some(piece),
                })
            }),
        ))))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        Ok(Response::new(self.answer_put(request.into_inner())?))
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        Ok(Response::new(self.answer_delete(request.into_inner())?))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        Ok(Response::new(self.answer_txn(request.into_inner())?))
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        Ok(Response::new(self.answer_compact(request.into_inner())?))
    }
}

/// Refuses a request that is too large, unless `check` refuses it for another reason: etcd looks at that first, if the
/// message reaches it.
fn check_size<R: Message>(
    request: &R,
    check: impl FnOnce(&R) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let bytes = request.encoded_len();
    if bytes <= MAX_REQUEST_BYTES {
        return Ok(());
    }
    if bytes > MAX_ETCD_MESSAGE_BYTES {
        return Err(Refusal::MessageTooLarge {
            bytes,
            max: MAX_ETCD_MESSAGE_BYTES,
        });
    }
    check(request)?;
    Err(Refusal::RequestTooLarge)
}

/// Pieces whose merge is the whole; only the last has the header, the count and whether there is more.
fn split(mut whole: PbRangeResponse) -> Vec<PbRangeResponse> {
    let mut pieces = Vec::new();
    let mut kvs = std::mem::take(&mut whole.kvs).into_iter().peekable();
    loop {
        let piece: Vec<_> = kvs.by_ref().take(STREAM_CHUNK).collect();
        if kvs.peek().is_none() {
            whole.kvs = piece;
            pieces.push(whole);
            return pieces;
        }
        pieces.push(PbRangeResponse {
            kvs: piece,
            ..PbRangeResponse::default()
        });
    }
}
