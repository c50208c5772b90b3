//! Answers that wait for the disk.
//!
//! They wait in the order in which they were made, and what they wait for never decreases; so a connection waits for the first,
//! and all that are ready then go out together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use h2::server::SendResponse;

use super::keys::Answer;
use super::wire;
use crate::etcd_service::embedded::disk::Journal;
use crate::etcd_service::embedded::refusal::Refusal;
use tokio::time::Instant;

/// The answers of one connection that wait.
#[derive(Default)]
pub(super) struct Held {
    answers: VecDeque<Waiting>,
    /// Until the first of them is on disk, or its time is up.
    first: Option<BoxFuture<'static, Result<(), Refusal>>>,
}

struct Waiting {
    answer: Answer,
    to: SendResponse<Bytes>,
    /// The entries that must be on disk before it is told.
    count: u64,
    since: Instant,
}

impl Held {
    /// Tells an answer that has just been made when everything it may know of is on disk.
    pub(super) fn tell(&mut self, answer: Answer, to: SendResponse<Bytes>, journal: &Journal) {
        let count = journal.appended();
        let tells_nothing = answer
            .as_ref()
            .is_err_and(|refusal| refusal.tells_nothing());
        if tells_nothing || journal.is_durable(count) {
            wire::tell(answer, to);
        } else {
            self.answers.push_back(Waiting {
                answer,
                to,
                count,
                since: Instant::now(),
            });
        }
    }

    /// Tells those whose time has come. The task of `cx` is woken when there are more.
    pub(super) fn poll(&mut self, journal: &Arc<Journal>, cx: &mut Context<'_>) {
        while let Some(first) = self.answers.front() {
            let (count, since) = (first.count, first.since);
            let waiting = self.first.get_or_insert_with(|| {
                let journal = Arc::clone(journal);
                Box::pin(async move { journal.settled_to(count, since).await })
            });
            let Poll::Ready(settled) = waiting.as_mut().poll(cx) else {
                return;
            };
            self.first = None;
            match settled {
                Ok(()) => {
                    while let Some(ready) = self
                        .answers
                        .pop_front_if(|next| journal.is_durable(next.count))
                    {
                        wire::tell(ready.answer, ready.to);
                    }
                }
                Err(refusal) => {
                    if let Some(late) = self.answers.pop_front() {
                        wire::tell(Err(refusal), late.to);
                    }
                }
            }
        }
    }
}
