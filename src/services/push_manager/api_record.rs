//! What became of the requests that came over gRPC, and how long each took. Every push manager has a record of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tonic::{Code, Status};

use crate::framework::Services;

use super::histogram::{Distribution, Histogram};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Broadcast,
    BroadcastToRoom,
}

impl Api {
    const ALL: [Self; 2] = [Self::Broadcast, Self::BroadcastToRoom];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "Broadcast",
            Self::BroadcastToRoom => "BroadcastToRoom",
        }
    }
}

/// How a request was answered. The first four are told in the reply, the others end the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    Partial,
    ResourceExhausted,
    NoNodes,
    InvalidArgument,
    Unavailable,
    DeadlineExceeded,
    /// The caller did not wait for the answer.
    Cancelled,
    Internal,
}

impl Answer {
    const ALL: [Self; 9] = [
        Self::Ok,
        Self::Partial,
        Self::ResourceExhausted,
        Self::NoNodes,
        Self::InvalidArgument,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::Internal,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Partial => "PARTIAL",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::NoNodes => "NO_NODES",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::Unavailable => "UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
        }
    }
}

impl From<&Status> for Answer {
    fn from(status: &Status) -> Self {
        match status.code() {
            Code::InvalidArgument => Self::InvalidArgument,
            Code::Unavailable => Self::Unavailable,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            _ => Self::Internal,
        }
    }
}

/// The record. A clone writes to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiRecord(Arc<[Requests; Api::ALL.len()]>);

#[derive(Debug, Default)]
struct Requests {
    answers: [AtomicU64; Answer::ALL.len()],
    durations: Histogram,
}

impl ApiRecord {
    /// Notes that a request has come. It is in the record once it has ended.
    pub(crate) fn begin(&self, api: Api, services: &Services) -> InProgress {
        InProgress {
            record: self.clone(),
            api,
            answer: Answer::Cancelled,
            services: services.clone(),
            begun: services.now(),
        }
    }

    /// How many requests had which answer; all of them, also those that never happened.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (Api, Answer, u64)> {
        self.each().flat_map(|(api, requests)| {
            let counts = Answer::ALL.into_iter().zip(&requests.answers);
            counts.map(move |(answer, count)| (api, answer, count.load(Ordering::Relaxed)))
        })
    }

    /// How long requests took.
    pub(crate) fn durations(&self) -> impl Iterator<Item = (Api, Distribution)> {
        self.each()
            .map(|(api, requests)| (api, requests.durations.read()))
    }

    fn each(&self) -> impl Iterator<Item = (Api, &Requests)> {
        Api::ALL.into_iter().zip(self.0.iter())
    }
}

/// A request that is being answered. If it is dropped instead, the caller has gone.
#[derive(Debug)]
#[must_use = "dropping it counts the request as cancelled"]
pub(crate) struct InProgress {
    record: ApiRecord,
    api: Api,
    answer: Answer,
    services: Services,
    begun: Instant,
}

impl InProgress {
    pub(crate) fn end(mut self, answer: Answer) {
        self.answer = answer;
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let requests = &self.record.0[self.api as usize];
        requests.answers[self.answer as usize].fetch_add(1, Ordering::Relaxed);
        let took = self.services.now().saturating_duration_since(self.begun);
        requests.durations.observe(took);
    }
}

#[cfg(test)]
mod tests {
    use crate::framework::Million;

    use super::*;

    #[test]
    fn every_request_is_counted_once_under_its_answer() {
        let million = Million::builder().workers(1).build().unwrap();
        let record = ApiRecord::default();
        for api in Api::ALL {
            for (times, answer) in (1..).zip(Answer::ALL) {
                for _ in 0..times {
                    record.begin(api, &million).end(answer);
                }
            }
        }
        let expected: Vec<_> = Api::ALL
            .into_iter()
            .flat_map(|api| {
                (1..)
                    .zip(Answer::ALL)
                    .map(move |(n, answer)| (api, answer, n))
            })
            .collect();
        assert_eq!(record.answers().collect::<Vec<_>>(), expected);
        assert!(
            record
                .durations()
                .all(|(_, durations)| durations.count == 45)
        );
    }

    #[test]
    fn a_request_whose_caller_has_gone_is_counted_as_cancelled() {
        let million = Million::builder().workers(1).build().unwrap();
        let record = ApiRecord::default();
        drop(record.begin(Api::BroadcastToRoom, &million));
        let counted: Vec<_> = record.answers().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [(Api::BroadcastToRoom, Answer::Cancelled, 1)]);
    }
}
