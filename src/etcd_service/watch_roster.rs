//! Who is on the shared stream: which watches wait to be made, which are, and whose a response is. No clock, no network.

use std::collections::{HashMap, VecDeque};

use super::error::EtcdError;
use super::watch::Scope;
use super::watch_change::Response;
use super::watch_lane::{End, Feed};

/// Requests to make a watch that may be unanswered at a time: enough to hide the way to the server and back, few enough that a thousand watches that come
/// back after an outage do not bury it.
const UNANSWERED: usize = 64;

/// What etcd calls it when it names no watch.
pub(super) const NO_WATCH: i64 = -1;

/// What is asked of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) scope: Scope,
    pub(super) start: i64,
    pub(super) previous: bool,
}

/// The number of a watch on the stream, never used again by the same service.
pub(super) type StreamId = i64;

/// What a response asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    /// etcd is to end this watch.
    Cancel(StreamId),
    /// The stream's login is not good any more: only a new stream has another.
    Reopen(String),
}

#[derive(Default)]
pub(super) struct Roster {
    /// Not asked for yet.
    waiting: VecDeque<(StreamId, Spec, Feed)>,
    /// Asked for, in the order in which etcd answers.
    unanswered: VecDeque<StreamId>,
    /// Asked for and perhaps made.
    members: HashMap<StreamId, Member>,
}

struct Member {
    scope: Scope,
    feed: Feed,
}

impl Roster {
    pub(super) fn join(&mut self, id: StreamId, spec: Spec, feed: Feed) {
        self.waiting.push_back((id, spec, feed));
    }

    /// The watch wants no more. What it returns is to be canceled.
    pub(super) fn leave(&mut self, id: StreamId) -> Option<StreamId> {
        self.waiting.retain(|(waiting, ..)| *waiting != id);
        self.members.remove(&id).map(|_| id)
    }

    /// The next watch to ask for.
    pub(super) fn create(&mut self) -> Option<(StreamId, Spec)> {
        if self.unanswered.len() >= UNANSWERED {
            return None;
        }
        let (id, spec, feed) = self.waiting.pop_front()?;
        self.unanswered.push_back(id);
        let scope = spec.scope.clone();
        self.members.insert(id, Member { scope, feed });
        Some((id, spec))
    }

    /// A watch that is made only to see whether etcd answers: of a key that somebody watches, for that one is allowed.
    pub(super) fn probe(&mut self, id: StreamId) -> Option<Scope> {
        let scope = self.members.values().next()?.scope.clone();
        self.unanswered.push_back(id);
        Some(scope)
    }

    /// Whether etcd owes an answer.
    pub(super) fn awaits_answer(&self) -> bool {
        !self.unanswered.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.members.is_empty()
    }

    /// How many are on the stream.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn received(&mut self, id: i64, created: bool, response: Response) -> Answer {
        let id = if created { self.answered(id) } else { Some(id) };
        if created && response.canceled && is_stale_login(&response.reason) {
            return Answer::Reopen(response.reason);
        }
        let Some(id) = id else {
            return Answer::Nothing;
        };
        let Some(member) = self.members.get(&id) else {
            // One that has left, or a probe: it has done what it was made for.
            return match created && !response.canceled {
                true => Answer::Cancel(id),
                false => Answer::Nothing,
            };
        };
        let canceled = response.canceled;
        if member.feed.offer(response) && !canceled {
            return Answer::Nothing;
        }
        let Some(member) = self.members.remove(&id) else {
            return Answer::Nothing;
        };
        if canceled {
            member.feed.end(End::Canceled);
            return Answer::Nothing;
        }
        member.feed.end(End::Overflowed);
        Answer::Cancel(id)
    }

    /// Which watch an answer is about: etcd answers in the order in which it was asked, and does not always say the number when it refuses.
    fn answered(&mut self, id: i64) -> Option<StreamId> {
        if id == NO_WATCH {
            return self.unanswered.pop_front();
        }
        let place = self.unanswered.iter().position(|asked| *asked == id)?;
        self.unanswered.remove(place)
    }

    /// The stream is gone. Those who wait to be asked for go on waiting.
    pub(super) fn lost(&mut self) {
        self.unanswered.clear();
        for (_, member) in self.members.drain() {
            member.feed.end(End::Lost);
        }
    }

    /// Nobody is let in.
    pub(super) fn refused(&mut self, error: &EtcdError) {
        self.lost();
        for (_, _, feed) in self.waiting.drain(..) {
            feed.end(End::Refused(error.clone()));
        }
    }
}

/// What etcd says when it knows the login no more, and a new one would be good.
pub(super) fn is_stale_login(reason: &str) -> bool {
    reason.contains("invalid auth token") || reason.contains("revision of auth store is old")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::super::watch_lane::{Arrival, BUFFER_EVENTS, Lane, lane};
    use super::super::watch_status::Counters;
    use super::*;

    fn join(roster: &mut Roster, id: StreamId) -> Lane {
        let (feed, lane) = lane(Arc::new(Counters::default()), || {});
        let spec = Spec {
            scope: Scope {
                key: vec![id as u8],
                prefix: true,
            },
            start: 1,
            previous: false,
        };
        roster.join(id, spec, feed);
        lane
    }

    fn next(lane: &mut Lane) -> Option<Arrival> {
        lane.next().now_or_never()
    }

    fn refusal(reason: &str) -> Response {
        Response {
            canceled: true,
            reason: reason.to_owned(),
            ..Response::default()
        }
    }

    fn events(count: usize) -> Response {
        let mut cursor_changes = Vec::new();
        for _ in 0..count {
            cursor_changes.push(super::super::watch_change::Change {
                kind: super::super::watch::WatchKind::Put,
                key: Vec::new(),
                value: Vec::new(),
                mod_revision: 1,
                snapshot: false,
                relisted: false,
                previous: None,
            });
        }
        Response {
            changes: cursor_changes,
            ..Response::default()
        }
    }

    #[test]
    fn no_more_than_so_many_watches_are_asked_for_at_a_time() {
        let mut roster = Roster::default();
        let _lanes: Vec<_> = (1..=200).map(|id| join(&mut roster, id)).collect();
        let asked: Vec<_> = std::iter::from_fn(|| roster.create()).collect();
        assert_eq!(asked.len(), UNANSWERED);
        assert_eq!(
            roster.received(1, true, Response::default()),
            Answer::Nothing
        );
        assert_eq!(
            roster.create().map(|(id, _)| id),
            Some(UNANSWERED as i64 + 1)
        );
        assert_eq!(roster.create(), None);
    }

    #[test]
    fn a_refusal_without_a_number_is_that_of_the_one_who_asked_first() {
        let mut roster = Roster::default();
        let mut lanes: Vec<_> = (1..=2).map(|id| join(&mut roster, id)).collect();
        while roster.create().is_some() {}
        let answer = roster.received(NO_WATCH, true, refusal("etcdserver: permission denied"));
        assert_eq!(answer, Answer::Nothing);
        assert!(matches!(next(&mut lanes[0]), Some(Arrival::Response(told)) if told.canceled));
        assert!(matches!(
            next(&mut lanes[0]),
            Some(Arrival::End(End::Canceled))
        ));
        assert!(next(&mut lanes[1]).is_none());
    }

    #[test]
    fn one_that_is_too_slow_is_canceled_and_the_others_go_on() {
        let mut roster = Roster::default();
        let mut lanes: Vec<_> = (1..=2).map(|id| join(&mut roster, id)).collect();
        while roster.create().is_some() {}
        let half = events(BUFFER_EVENTS / 2 + 1);
        assert_eq!(roster.received(1, false, half.clone()), Answer::Nothing);
        assert_eq!(roster.received(1, false, half.clone()), Answer::Cancel(1));
        // What is on its way for it is thrown away.
        assert_eq!(roster.received(1, false, half), Answer::Nothing);
        assert_eq!(roster.received(2, false, events(1)), Answer::Nothing);
        assert!(matches!(next(&mut lanes[0]), Some(Arrival::Response(_))));
        assert!(matches!(
            next(&mut lanes[0]),
            Some(Arrival::End(End::Overflowed))
        ));
        assert!(matches!(next(&mut lanes[1]), Some(Arrival::Response(_))));
    }

    #[test]
    fn one_that_left_before_it_was_made_is_canceled_when_it_is() {
        let mut roster = Roster::default();
        let _lane = join(&mut roster, 1);
        roster.create().unwrap();
        assert_eq!(roster.leave(1), Some(1));
        assert_eq!(
            roster.received(1, true, Response::default()),
            Answer::Cancel(1)
        );
        assert!(roster.is_empty() && !roster.awaits_answer());
    }

    #[test]
    fn an_old_login_wants_a_new_stream() {
        let mut roster = Roster::default();
        let mut lane = join(&mut roster, 1);
        roster.create().unwrap();
        let answer = roster.received(NO_WATCH, true, refusal("etcdserver: invalid auth token"));
        assert!(matches!(answer, Answer::Reopen(_)));
        roster.lost();
        assert!(matches!(next(&mut lane), Some(Arrival::End(End::Lost))));
    }
}
