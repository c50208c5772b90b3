//! The metrics of a push manager, by name: what a scrape shows.
//!
//! At every scrape `push_total = push_success_total + push_failed_total + push_expired_total + push_dropped_total + push_queued`, the
//! identity of [`Counters`](super::Counters). A message is counted once for each node that it is for.

use std::collections::BTreeMap;

use super::api_record::ApiRecord;
use super::exposition::{Exposition, Kind};
use super::messages::{NodeState, NodeTable};

/// The text that shows `table` and `api`, for the push manager `id`.
pub(crate) fn render(id: &str, table: &NodeTable, api: &ApiRecord) -> String {
    let mut text = Exposition::default();
    let info = [("id", id), ("version", env!("CARGO_PKG_VERSION"))];
    text.family(
        "push_manager_info",
        Kind::Gauge,
        "Which push manager this is; always 1.",
    )
    .sample(&info, 1);
    requests(&mut text, api);
    nodes(&mut text, table);
    messages(&mut text, table);
    text.into_text()
}

fn requests(text: &mut Exposition, api: &ApiRecord) {
    let mut family = text.family(
        "push_manager_api_requests_total",
        Kind::Counter,
        "Requests of business servers, by what they were answered: in the reply, or by the status of the call.",
    );
    for (api, answer, count) in api.answers() {
        family.sample(&[("api", api.name()), ("status", answer.name())], count);
    }
    let mut family = text.family(
        "push_manager_api_duration_seconds",
        Kind::Histogram,
        "From a request to its answer, which says what the queues of the nodes took; delivery is later.",
    );
    for (api, durations) in api.durations() {
        family.distribution(&[("api", api.name())], &durations);
    }
}

fn nodes(text: &mut Exposition, table: &NodeTable) {
    // A node that registers anew at another address has its old registration too for a while: the id is connected if one of them is.
    let mut connected: BTreeMap<&str, bool> = BTreeMap::new();
    for node in &table.nodes {
        match node.state {
            NodeState::Ready => *connected.entry(&node.id).or_default() = true,
            NodeState::Connecting => {
                connected.entry(&node.id).or_default();
            }
            NodeState::Draining => {}
        }
    }
    let mut family = text.family(
        "push_manager_node_connections",
        Kind::Gauge,
        "1 for a registered node that is connected as far as is known, 0 for one that is not; a node that has left has no series.",
    );
    for (id, connected) in connected {
        family.sample(&[("node_id", id)], connected.into());
    }
}

fn messages(text: &mut Exposition, table: &NodeTable) {
    let total = table.total();
    let fates = [
        (
            "push_manager_push_total",
            Kind::Counter,
            "Messages that the queue of a node took. Each is in one of success, failed, expired, dropped and queued.",
            total.accepted,
        ),
        (
            "push_manager_push_success_total",
            Kind::Counter,
            "Messages that their node acknowledged.",
            total.delivered,
        ),
        (
            "push_manager_push_failed_total",
            Kind::Counter,
            "Messages that their node refused, or whose call broke.",
            total.failed,
        ),
        (
            "push_manager_push_expired_total",
            Kind::Counter,
            "Messages whose call was not answered in time.",
            total.expired,
        ),
        (
            "push_manager_push_dropped_total",
            Kind::Counter,
            "Messages given up because their node had left, or the push manager stopped, and draining took too long.",
            total.dropped,
        ),
        (
            "push_manager_push_queued",
            Kind::Gauge,
            "Messages that wait for their node or are on their way to it.",
            total.queued,
        ),
        (
            "push_manager_push_refused_total",
            Kind::Counter,
            "Messages that the full queue of a node did not take, which their senders were told. They are not in push_total.",
            total.refused,
        ),
    ];
    for (name, kind, help, value) in fates {
        text.family(name, kind, help).sample(&[], value);
    }
}
