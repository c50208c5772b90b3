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
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::keyspace::Record;
use super::options::FRAGMENT_BYTES;
use super::range::KeyRange;
use super::refusal::Refusal;
use super::shared::{Shared, WatchStream};
use super::store::Store;
use super::watch::{Delivery, WatchSpec};

/// The watch id of what concerns the whole stream, or no watch at all.
const NO_WATCH: i64 = -1;

/// The number of the events' field in a watch response.
const EVENTS_TAG: u32 = 11;

/// Requests for progress that wait for watchers to catch up. Of what comes beyond, the answer to an earlier one stands
/// for all: no client waits for a thousand at once.
const MAX_PROGRESS_ASKED: usize = 1024;

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
    watches: WatchStream,
    /// There may be something to read.
    readable: bool,
    /// Responses already made: the answer to one request, or the fragments of one delivery.
    out: VecDeque<PbWatchResponse>,
    /// The revisions at which progress was asked for. Each is answered when every watcher has read up to it.
    progress_asked: VecDeque<i64>,
    /// Some watcher wants to hear of progress by itself.
    reports: bool,
    report: Interval,
}

impl Session {
    fn new(shared: Arc<Shared>, requests: Streaming<PbWatchRequest>) -> Self {
        let watches = WatchStream::open(&shared);
        let period = shared.progress_interval;
        let mut report = interval_at(Instant::now() + period, period);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            shared,
            requests,
            half_closed: false,
            watches,
            readable: false,
            out: VecDeque::new(),
            progress_asked: VecDeque::new(),
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
                () = std::future::ready(()), if self.readable => {
                    if !self.read() {
                        // Who is far behind may go through many of those, and others want the thread and the store too.
                        tokio::task::yield_now().await;
                    }
                }
                () = self.watches.woken() => self.readable = true,
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
                if self.progress_asked.len() < MAX_PROGRESS_ASKED {
                    let now = self.shared.read(Store::revision);
                    self.progress_asked.push_back(now);
                }
                self.readable = true;
            }
            None => {}
        }
    }

    fn create(&mut self, spec: WatchSpec) {
        let progress = spec.progress;
        let (created, revision) = self
            .shared
            .write(|store| (store.watch(self.watches.id(), spec), store.revision()));
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
            .write(|store| (store.unwatch(self.watches.id(), watch_id), store.revision()));
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

    /// Reads a piece; false if nothing in it concerned anybody.
    fn read(&mut self) -> bool {
        let mut concerns = true;
        let (delivery, read_to) = self.shared.write(|store| {
            let delivery = store.deliver(self.watches.id());
            // Looking through the watchers is left out while nobody wants to know.
            let read_to =
                (!self.progress_asked.is_empty()).then(|| store.read_to(self.watches.id()));
            (delivery, read_to)
        });
        match delivery {
            Delivery::Nothing => concerns = false,
            Delivery::Idle => self.readable = false,
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
        // Behind the events that were read with it.
        while let (Some(asked), Some(read_to)) = (self.progress_asked.front(), read_to)
            && *asked <= read_to
        {
            self.progress_asked.pop_front();
            self.push_progress(NO_WATCH, read_to);
        }
        concerns
    }

    fn report_progress(&mut self) {
        let (silent, revision) = self
            .shared
            .write(|store| (store.silent_watches(self.watches.id()), store.revision()));
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

/// The response in pieces of less than `limit` encoded bytes, or of one event; all but the last are marked. The cuts are
/// where etcd makes them.
fn fragments(mut whole: PbWatchResponse, limit: usize) -> Vec<PbWatchResponse> {
    if whole.encoded_len() < limit || whole.events.len() < 2 {
        return vec![whole];
    }
    let events = std::mem::take(&mut whole.events);
    let empty = PbWatchResponse {
        fragment: true,
        ..whole
    };
    let around = empty.encoded_len();
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (empty.clone(), around);
    for event in events {
        let size = prost::encoding::message::encoded_len(EVENTS_TAG, &event);
        if !piece.events.is_empty() && bytes + size >= limit {
            pieces.push(std::mem::replace(&mut piece, empty.clone()));
            bytes = around;
        }
        bytes += size;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests;
