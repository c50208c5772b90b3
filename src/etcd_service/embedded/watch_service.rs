//! The watch service: one session for each gRPC stream.
//!
//! ```text
//! requests ──▶ session ──▶ responses, each made when the client has room for it
//!                 ▲ woken by `Notify` when one of its watchers has something to read
//! ```
//!
//! A session is a stream that the transport polls, not a task: it ends with its connection, and a client that does not
//! read holds no more than one response.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use etcd_client::EventType;
use etcd_client::proto::{
    PbEvent, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService,
};
use futures::{Stream, stream};
use prost::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::keyspace::Record;
use super::options::FRAGMENT_BYTES;
use super::range::KeyRange;
use super::refusal::Refusal;
use super::shared::Shared;
use super::watch::{Delivery, StreamId, WatchSpec};

/// The watch id of what concerns the whole stream, or no watch at all.
const NO_WATCH: i64 = -1;

/// The filters of a watch request, by their numbers.
const FILTER_NO_PUT: i32 = 0;
const FILTER_NO_DELETE: i32 = 1;

#[derive(Clone, Debug)]
pub(super) struct WatchService {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl PbWatchService for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<PbWatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let session = Session::new(Arc::clone(&self.shared), request.into_inner());
        Ok(Response::new(Box::pin(stream::unfold(
            Some(session),
            |session| async {
                let mut session = session?;
                match session.next().await {
                    Ok(response) => Some((Ok(response), Some(session))),
                    Err(status) => Some((Err(status), None)),
                }
            },
        ))))
    }
}

struct Session {
    shared: Arc<Shared>,
    requests: Streaming<PbWatchRequest>,
    /// The client has closed its side; what it watches goes on.
    half_closed: bool,
    stream: StreamId,
    woken: Arc<Notify>,
    /// There may be something to read.
    readable: bool,
    /// Responses already made: the answer to one request, or the fragments of one delivery.
    out: VecDeque<PbWatchResponse>,
    /// Requests for progress, answered when every watcher has read everything.
    progress_asked: u32,
    /// Some watcher wants to hear of progress by itself.
    reports: bool,
    report: Interval,
}

impl Session {
    fn new(shared: Arc<Shared>, requests: Streaming<PbWatchRequest>) -> Self {
        let (stream, woken) = shared.open_stream();
        let period = shared.progress_interval;
        let mut report = interval_at(Instant::now() + period, period);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            shared,
            requests,
            half_closed: false,
            stream,
            woken,
            readable: false,
            out: VecDeque::new(),
            progress_asked: 0,
            reports: false,
            report,
        }
    }

    /// The next response. Requests go before events, so that a cancel is not held up by what it cancels.
    async fn next(&mut self) -> Result<PbWatchResponse, Status> {
        loop {
            if let Some(response) = self.out.pop_front() {
                return Ok(response);
            }
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return Err(Refusal::Stopped.into()),
                request = self.requests.message(), if !self.half_closed => match request? {
                    Some(request) => self.accept(request),
                    None => self.half_closed = true,
                },
                () = std::future::ready(()), if self.readable => self.read(),
                () = self.woken.notified() => self.readable = true,
                _ = self.report.tick(), if self.reports => self.report_progress(),
            }
        }
    }

    fn accept(&mut self, request: PbWatchRequest) {
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                // etcd takes no key as the smallest one.
                let key = if create.key.is_empty() {
                    vec![0]
                } else {
                    create.key
                };
                self.create(WatchSpec {
                    id: create.watch_id,
                    keys: KeyRange::new(key, create.range_end),
                    start_revision: create.start_revision,
                    previous: create.prev_kv,
                    puts: !create.filters.contains(&FILTER_NO_PUT),
                    deletes: !create.filters.contains(&FILTER_NO_DELETE),
                    fragment: create.fragment,
                    progress: create.progress_notify,
                });
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                self.progress_asked = self.progress_asked.saturating_add(1);
                self.readable = true;
            }
            None => {}
        }
    }

    fn create(&mut self, spec: WatchSpec) {
        let progress = spec.progress;
        let (created, revision) = self
            .shared
            .write(|store| (store.watch(self.stream, spec), store.revision()));
        let header = Some(self.shared.header(revision));
        self.out.push_back(match created {
            Ok(watch_id) => {
                self.reports |= progress;
                PbWatchResponse {
                    header,
                    watch_id,
                    created: true,
                    ..PbWatchResponse::default()
                }
            }
            Err(refusal) => PbWatchResponse {
                header,
                watch_id: NO_WATCH,
                created: true,
                canceled: true,
                cancel_reason: refusal.to_string(),
                ..PbWatchResponse::default()
            },
        });
    }

    fn cancel(&mut self, watch_id: i64) {
        let (canceled, revision) = self
            .shared
            .write(|store| (store.unwatch(self.stream, watch_id), store.revision()));
        if canceled {
            self.out.push_back(PbWatchResponse {
                header: Some(self.shared.header(revision)),
                watch_id,
                canceled: true,
                ..PbWatchResponse::default()
            });
        }
        // One watcher less may be what a request for progress waited for.
        self.readable = true;
    }

    fn read(&mut self) {
        let (delivery, revision) = self
            .shared
            .write(|store| (store.deliver(self.stream), store.revision()));
        match delivery {
            Delivery::Nothing => {}
            Delivery::Idle => {
                self.readable = false;
                for _ in 0..std::mem::take(&mut self.progress_asked) {
                    self.push_progress(NO_WATCH, revision);
                }
            }
            Delivery::Compacted { id, compacted } => self.out.push_back(PbWatchResponse {
                header: Some(self.shared.header(0)),
                watch_id: id,
                canceled: true,
                compact_revision: compacted,
                ..PbWatchResponse::default()
            }),
            Delivery::Events {
                id,
                events,
                revision,
                fragment,
            } => {
                let whole = PbWatchResponse {
                    header: Some(self.shared.header(revision)),
                    watch_id: id,
                    events: events.into_iter().map(event).collect(),
                    ..PbWatchResponse::default()
                };
                if fragment {
                    self.out.extend(fragments(whole, FRAGMENT_BYTES));
                } else {
                    self.out.push_back(whole);
                }
            }
        }
    }

    fn report_progress(&mut self) {
        let (silent, revision) = self
            .shared
            .write(|store| (store.silent_watches(self.stream), store.revision()));
        for id in silent {
            self.push_progress(id, revision);
        }
    }

    fn push_progress(&mut self, watch_id: i64, revision: i64) {
        self.out.push_back(PbWatchResponse {
            header: Some(self.shared.header(revision)),
            watch_id,
            ..PbWatchResponse::default()
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.close_stream(self.stream);
    }
}

fn event((record, previous): (Record, Option<Record>)) -> PbEvent {
    let kind = if record.version == 0 {
        EventType::Delete
    } else {
        EventType::Put
    };
    PbEvent {
        r#type: kind as i32,
        kv: Some(Arc::unwrap_or_clone(record)),
        prev_kv: previous.map(Arc::unwrap_or_clone),
    }
}

/// The response in pieces of at most `limit` bytes of events, or of one event; all but the last are marked.
fn fragments(whole: PbWatchResponse, limit: usize) -> Vec<PbWatchResponse> {
    if whole.encoded_len() < limit {
        return vec![whole];
    }
    let empty = PbWatchResponse {
        fragment: true,
        events: Vec::new(),
        ..whole.clone()
    };
    let mut pieces = vec![empty.clone()];
    let mut bytes = 0;
    for event in whole.events {
        let size = event.encoded_len();
        if bytes > 0 && bytes + size > limit {
            pieces.push(empty.clone());
            bytes = 0;
        }
        bytes += size;
        if let Some(piece) = pieces.last_mut() {
            piece.events.push(event);
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.fragment = false;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(sizes: &[usize]) -> PbWatchResponse {
        let events = sizes.iter().map(|size| {
            let record = etcd_client::proto::PbKeyValue {
                value: vec![0; *size],
                version: 1,
                ..Default::default()
            };
            event((Record::new(record), None))
        });
        PbWatchResponse {
            watch_id: 7,
            events: events.collect(),
            ..PbWatchResponse::default()
        }
    }

    #[test]
    fn a_small_response_stays_whole() {
        let pieces = fragments(response(&[10, 10]), 1000);
        assert_eq!(pieces.len(), 1);
        assert!(!pieces[0].fragment);
    }

    #[test]
    fn all_fragments_but_the_last_are_marked_and_none_is_lost() {
        let pieces = fragments(response(&[600, 600, 600, 10]), 1000);
        let marks: Vec<_> = pieces.iter().map(|piece| piece.fragment).collect();
        let counts: Vec<_> = pieces.iter().map(|piece| piece.events.len()).collect();
        assert_eq!(marks, [true, true, false]);
        assert_eq!(counts, [1, 1, 2]);
        assert!(pieces.iter().all(|piece| piece.watch_id == 7));
    }
}
