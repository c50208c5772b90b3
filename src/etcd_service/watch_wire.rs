//! Watches in the words of etcd's protocol, and what etcd says in the words of this service.

use etcd_client::proto::{PbEvent, PbWatchRequest, PbWatchRequestUnion};
use etcd_client::{EventType, WatchFilterType, WatchOptions, WatchResponse};

use super::messages::KeyValue;
use super::watch::{Scope, WatchKind};
use super::watch_change::{Change, Response};
use super::watch_history::History;
use super::watch_roster::{Spec, StreamId};

/// What is asked of etcd for a watch.
pub(super) fn options(id: StreamId, spec: &Spec) -> WatchOptions {
    let mut options = WatchOptions::new()
        .with_watch_id(id)
        .with_start_revision(spec.start)
        .with_fragment();
    if spec.scope.prefix {
        options = options.with_prefix();
    }
    if spec.previous {
        options = options.with_prev_key();
    }
    options
}

pub(super) fn create(id: StreamId, spec: &Spec) -> PbWatchRequest {
    options(id, spec).with_key(spec.scope.key.clone()).into()
}

/// A watch that tells nothing but that it was made.
pub(super) fn probe(id: StreamId, scope: &Scope) -> PbWatchRequest {
    let key = match scope.key.is_empty() {
        true => vec![0],
        false => scope.key.clone(),
    };
    WatchOptions::new()
        .with_watch_id(id)
        .with_filters([WatchFilterType::NoPut, WatchFilterType::NoDelete])
        .with_key(key)
        .into()
}

pub(super) fn cancel(id: StreamId) -> PbWatchRequest {
    // The library does not let its type be named.
    let mut request = PbWatchRequestUnion::CancelRequest(Default::default());
    if let PbWatchRequestUnion::CancelRequest(cancel) = &mut request {
        cancel.watch_id = id;
    }
    PbWatchRequest {
        request_union: Some(request),
    }
}

/// A response in the words of this service, which takes note in `history` of what it has heard.
pub(super) fn of_library(response: WatchResponse, history: &History) -> Response {
    let response = response.0;
    let header = response.header.unwrap_or_default();
    Response {
        history: match header.cluster_id {
            // One that does not say whose it is.
            0 => history.known().number,
            cluster => history.heard(cluster, header.revision),
        },
        revision: header.revision,
        fragment: response.fragment,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        reason: response.cancel_reason,
        changes: response.events.into_iter().filter_map(of_event).collect(),
    }
}

fn of_event(event: PbEvent) -> Option<Change> {
    let kind = match EventType::try_from(event.r#type).ok()? {
        EventType::Put => WatchKind::Put,
        EventType::Delete => WatchKind::Delete,
    };
    let pair = event.kv?;
    Some(Change {
        kind,
        key: pair.key,
        value: pair.value,
        mod_revision: pair.mod_revision,
        snapshot: false,
        relisted: false,
        previous: event.prev_kv.map(KeyValue::from),
    })
}
