//! A script talks to one server and notes every answer, field by field, in a form in which the answers of two servers
//! can be equal.
//!
//! What must differ is named, not left out: the cluster's and the member's id and the term become words, revisions are
//! told from the case's beginning (`+2`), and a lease whose id the server chose is told by its ordinal. A number that is
//! none of these stays as it is.

use std::time::{Duration, Instant};

use etcd_client::proto::{
    PbDeleteRequest, PbEvent, PbLeaseGrantRequest, PbLeaseKeepAliveRequest, PbLeaseLeasesRequest,
    PbLeaseRevokeRequest, PbStatusRequest, PbWatchRequest, PbWatchResponse,
};
use tokio::task::JoinSet;
use tonic::Status;

use super::fields::{self, Field, Fields, Value};
use super::requests::{ON, delete_between, get};
use super::wire::{Call, Stream, StreamCall, Wire};

/// A field of an answer with its step, and what the server said.
pub(crate) type Note = (String, String);

/// Far longer than a key takes to come or to go: the leases that end here are of a few seconds.
const WAIT: Duration = Duration::from_secs(20);

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// A request whose answer is yet to come. It is given up when this is dropped.
pub(crate) struct Later<T> {
    step: String,
    task: JoinSet<Result<T, Status>>,
}

/// An open watch stream.
pub(crate) type Watch = Stream<PbWatchRequest>;

pub(crate) struct Script {
    wire: Wire,
    /// The case that runs.
    case: &'static str,
    notes: Vec<Note>,
    steps: usize,
    cluster_id: u64,
    member_id: u64,
    raft_term: u64,
    /// The revision at which the case began.
    base: i64,
    /// Ids that the server chose, in order.
    chosen: Vec<i64>,
}

impl Script {
    pub(crate) async fn new(wire: Wire) -> Self {
        let status = wire
            .ask(PbStatusRequest {})
            .await
            .expect("the server tells its status");
        let header = status.header.expect("a status has a header");
        Self {
            wire,
            case: "none",
            notes: Vec::new(),
            steps: 0,
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            raft_term: header.raft_term,
            base: header.revision,
            chosen: Vec::new(),
        }
    }

    /// Leaves neither keys nor leases behind, and begins a case.
    ///
    /// # Panics
    ///
    /// When the server does not answer, with the case that was the last: it may have ended the server.
    pub(crate) async fn begin(&mut self, case: &'static str) {
        match self.empty().await {
            Ok(revision) => self.base = revision,
            Err(status) => panic!(
                "a server does not answer any more after the case {}: {status}",
                self.case
            ),
        }
        self.case = case;
        self.notes.clear();
        self.chosen.clear();
        self.steps = 0;
    }

    /// Empties the server, and tells its revision then.
    async fn empty(&self) -> Result<i64, Status> {
        for lease in self.wire.ask(PbLeaseLeasesRequest {}).await?.leases {
            // One that expires meanwhile need not be revoked any more.
            let _ = self.wire.ask(PbLeaseRevokeRequest { id: lease.id }).await;
        }
        let everything: PbDeleteRequest = delete_between("\0", ON);
        let answer = self.wire.ask(everything).await?;
        Ok(answer.header.expect("an answer has a header").revision)
    }

    /// Tells revisions from the one that the server is at now.
    pub(crate) async fn rebase(&mut self) {
        if let Ok(answer) = self.wire.ask(get("none")).await {
            self.base = answer.header.map_or(self.base, |header| header.revision);
        }
    }

    /// What was noted since the case began.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The server's own id, which differs from server to server.
    pub(crate) fn member_id(&self) -> u64 {
        self.member_id
    }

    /// The revision after so many writes of the case; 0 is the one at which it began.
    pub(crate) fn revision(&self, writes: i64) -> i64 {
        self.base + writes
    }

    /// From now on this id is told by its ordinal: the server chose it.
    pub(crate) fn chosen_lease(&mut self, id: i64) {
        if !self.chosen.contains(&id) {
            self.chosen.push(id);
        }
    }

    /// Asks and notes the answer.
    pub(crate) async fn ask<C: Call>(&mut self, request: C) -> Option<C::Answer> {
        self.ask_changing(request, |_| {}).await
    }

    /// Asks and notes the answer without the named fields, which no two servers need to agree on.
    pub(crate) async fn ask_without<C: Call>(
        &mut self,
        request: C,
        left_out: &[&str],
    ) -> Option<C::Answer> {
        let step = self.step(C::METHOD);
        let answer = self.wire.ask(request).await;
        self.note(&step, &answer, left_out);
        answer.ok()
    }

    /// Asks and notes the answer after a change to what comes in no certain order.
    pub(crate) async fn ask_changing<C: Call>(
        &mut self,
        request: C,
        change: impl FnOnce(&mut C::Answer),
    ) -> Option<C::Answer> {
        let step = self.step(C::METHOD);
        let mut answer = self.wire.ask(request).await;
        if let Ok(answer) = &mut answer {
            change(answer);
        }
        self.note(&step, &answer, &[]);
        answer.ok()
    }

    /// Grants a lease whose id the server chooses.
    pub(crate) async fn grant_chosen(&mut self, ttl: i64) -> i64 {
        let request = PbLeaseGrantRequest { ttl, id: 0 };
        let step = self.step(<PbLeaseGrantRequest as Call>::METHOD);
        let answer = self.wire.ask(request).await;
        let id = answer.as_ref().map_or(0, |answer| answer.id);
        self.chosen_lease(id);
        self.note(&step, &answer, &[]);
        id
    }

    /// Opens a stream and notes its first answer.
    pub(crate) async fn open<C: StreamCall>(&mut self, first: C) -> Option<Stream<C>> {
        let step = self.step(C::METHOD);
        match self.wire.open(first).await {
            Ok(mut stream) => {
                let answer = stream.next().await;
                self.note(&step, &answer, &[]);
                Some(stream)
            }
            Err(refusal) => {
                self.note::<C::Answer>(&step, &Err(refusal), &[]);
                None
            }
        }
    }

    /// Renews a lease on a stream of its own.
    pub(crate) async fn keep_alive(&mut self, id: i64) {
        self.open(PbLeaseKeepAliveRequest { id }).await;
    }

    /// Opens a watch stream with one watch; `created` is noted.
    pub(crate) async fn watch(&mut self, first: PbWatchRequest) -> Watch {
        self.open(first)
            .await
            .expect("a watch stream can be opened")
    }

    /// Notes the next answer of a stream.
    pub(crate) async fn next<C: StreamCall>(&mut self, stream: &mut Stream<C>) {
        let step = self.step(C::METHOD);
        let answer = stream.next().await;
        self.note(&step, &answer, &[]);
    }

    /// Notes so many responses of several watches, in the order of the watches: between watches there is none.
    pub(crate) async fn gather(&mut self, watch: &mut Watch, count: usize) {
        let mut responses = Vec::new();
        for _ in 0..count {
            match watch.next().await {
                Ok(response) => responses.push(response),
                Err(refusal) => {
                    let step = self.step("Watch");
                    self.note::<PbWatchResponse>(&step, &Err(refusal), &[]);
                    return;
                }
            }
        }
        responses.sort_by_key(|response| response.watch_id);
        for response in responses {
            let step = self.step("Watch");
            self.note(&step, &Ok(response), &[]);
        }
    }

    /// Notes events until there were so many, whatever responses they come in.
    pub(crate) async fn events(&mut self, watch: &mut Watch, count: usize) {
        let step = self.step("Watch events");
        let mut events: Vec<PbEvent> = Vec::new();
        while events.len() < count {
            match watch.next().await {
                Ok(response) if response.canceled => {
                    return self.note(&step, &Ok(response), &[]);
                }
                Ok(response) => events.extend(response.events),
                Err(refusal) => return self.note::<PbWatchResponse>(&step, &Err(refusal), &[]),
            }
        }
        let merged = PbWatchResponse {
            events,
            ..PbWatchResponse::default()
        };
        self.note(&step, &Ok(merged), &["header"]);
    }

    /// Asks in the background, for a request that is answered only after later ones.
    pub(crate) fn later<C: Call>(&mut self, request: C) -> Later<C::Answer> {
        let step = self.step(C::METHOD);
        let wire = self.wire.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { wire.ask(request).await });
        Later { step, task }
    }

    /// Opens a stream in the background, for one whose first answer comes only after later requests.
    pub(crate) fn opening<C: StreamCall>(&mut self, first: C) -> Later<C::Answer> {
        let step = self.step(C::METHOD);
        let wire = self.wire.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { wire.open(first).await?.next().await });
        Later { step, task }
    }

    /// Notes the answer to a request in the background.
    pub(crate) async fn done<T: Fields + 'static>(&mut self, mut later: Later<T>) {
        let answer = later.task.join_next().await.expect("it has one task");
        let answer = answer.expect("asking does not panic");
        self.note(&later.step, &answer, &[]);
    }

    /// Asks without a note.
    pub(crate) async fn quietly<C: Call>(&mut self, request: C) -> Option<C::Answer> {
        self.wire.ask(request).await.ok()
    }

    /// Waits until a key is there, and notes whether it came to be.
    pub(crate) async fn there(&mut self, key: &str) {
        self.until(key, 1).await;
    }

    /// Waits until a key is gone, and notes whether it went.
    pub(crate) async fn gone(&mut self, key: &str) {
        self.until(key, 0).await;
    }

    async fn until(&mut self, key: &str, count: i64) {
        let step = self.step("until");
        let deadline = Instant::now() + WAIT;
        loop {
            let answer = self.wire.ask(get(key)).await;
            let there = answer.as_ref().map_or(-1, |answer| answer.count);
            if there == count || Instant::now() > deadline {
                self.notes.push((step, format!("{there} of {key}")));
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Notes something that is no answer.
    pub(crate) fn remark(&mut self, what: &str, value: &str) {
        let step = self.step(what);
        self.notes.push((step, value.to_owned()));
    }

    fn step(&mut self, method: &str) -> String {
        self.steps += 1;
        let method = method.rsplit('/').next().unwrap_or(method);
        format!("{} {method}", self.steps)
    }

    fn note<T: Fields>(&mut self, step: &str, answer: &Result<T, Status>, left_out: &[&str]) {
        match answer {
            Ok(answer) => {
                for field in fields::of(answer) {
                    let leave = |name: &&&str| {
                        field.path == ***name || field.path.starts_with(&format!("{name}."))
                    };
                    if !left_out.iter().any(|name| leave(&name)) {
                        let value = self.plain(&field);
                        self.notes.push((format!("{step}: {}", field.path), value));
                    }
                }
            }
            Err(refusal) => {
                let code = format!("{:?}", refusal.code());
                self.notes.push((format!("{step}: error.code"), code));
                let text = self.words(refusal.message());
                self.notes.push((format!("{step}: error.text"), text));
            }
        }
    }

    /// A value as it can be compared with another server's.
    fn plain(&self, field: &Field) -> String {
        let name = field.name();
        match &field.value {
            Value::Absent => "absent".to_owned(),
            Value::Flag(flag) => flag.to_string(),
            Value::Count(count) => count.to_string(),
            Value::Bytes(bytes) => self.words(&fields::shown(bytes)),
            Value::Number(number) => match name {
                "lease" | "id" => self.lease(*number),
                _ if name == "rev" || name.ends_with("revision") => self.told_revision(*number),
                _ => number.to_string(),
            },
            Value::Unsigned(number) => match name {
                "cluster_id" if *number == self.cluster_id => "the cluster".to_owned(),
                "member_id" | "id" | "leader" if *number == self.member_id => {
                    "the member".to_owned()
                }
                "raft_term" if *number == self.raft_term => "the term".to_owned(),
                _ => number.to_string(),
            },
        }
    }

    fn told_revision(&self, revision: i64) -> String {
        if revision > 0 {
            format!("{:+}", revision - self.base)
        } else {
            format!("literally {revision}")
        }
    }

    fn lease(&self, id: i64) -> String {
        match self.chosen.iter().position(|chosen| *chosen == id) {
            Some(position) => format!("chosen lease {}", position + 1),
            None => id.to_string(),
        }
    }

    /// Text in which what the server chose is replaced.
    fn words(&self, text: &str) -> String {
        let mut text = text.replace(&self.member_id.to_string(), "(the member)");
        for (position, id) in self.chosen.iter().enumerate() {
            text = text.replace(
                &format!("{id:x}"),
                &format!("(chosen lease {})", position + 1),
            );
        }
        text
    }
}
