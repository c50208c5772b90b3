//! Telling an event to all who subscribed: the futures [`Publish`] and [`Collect`], and what they report.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::context::ServiceId;
use super::error::CallError;
use super::events::{Snapshot, Topic};
use super::mailbox::Refused;
use super::message::Message;
use super::recipient::{Deliver, Recipient};
use super::services::Services;
use super::timer::TimerKey;
use super::waiting_line::Place;

/// Who heard of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it tells who missed the event"]
pub struct PublishReport {
    /// How many subscribers have it in their mailbox.
    pub told: usize,
    /// Whose mailbox had no room: at once for [`Events::try_publish`](super::Events::try_publish), in time for
    /// [`Events::publish`](super::Events::publish).
    pub missed: Vec<ServiceId>,
    /// How many turned out to have ended, and are forgotten.
    pub ended: usize,
}

impl PublishReport {
    /// Whether nobody missed it.
    pub fn is_complete(&self) -> bool {
        self.missed.is_empty()
    }
}

/// Puts an event into the mailbox of each subscriber, in their order. Made by [`Events::publish`](super::Events::publish).
///
/// # Cancel safety
///
/// Dropped half way, those who were told keep the event and those after them are not told.
#[must_use = "nothing is published unless the future is awaited"]
pub struct Publish<E: Message + Clone> {
    services: Services,
    event: E,
    limit: Duration,
    /// From the first poll on.
    round: Option<Round<E>>,
    timer: Option<TimerKey>,
    report: PublishReport,
}

/// A walk over the subscribers of a topic.
struct Round<E: Message> {
    topic: Arc<Topic<E>>,
    subscribers: Snapshot<E>,
    next: usize,
    /// The clone that the next subscriber gets.
    slot: Option<E>,
    /// In whose line it waits for room.
    waiting: Option<(Arc<dyn Deliver<E>>, Option<Place>)>,
    deadline: Option<std::time::Instant>,
    overdue: bool,
}

impl<E: Message + Clone> Publish<E> {
    pub(crate) fn new(services: Services, event: E) -> Self {
        Self {
            limit: services.call_timeout(),
            services,
            event,
            round: None,
            timer: None,
            report: PublishReport::default(),
        }
    }

    /// Waits for room at most for `limit` in all, rounded up to the timer's tick (10 ms by default).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn give_up(&mut self) {
        if let Some((target, Some(place))) =
            self.round.as_mut().and_then(|round| round.waiting.take())
        {
            target.give_up(place);
        }
        if let Some(timer) = self.timer.take() {
            self.services.timers().cancel(timer);
        }
    }

    /// Ready once every subscriber is told, has missed the event, or has ended.
    fn walk(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.round.is_none() {
            let Some(topic) = self.services.topics().find::<E>() else {
                return Poll::Ready(());
            };
            self.round = Some(Round {
                subscribers: topic.snapshot(),
                topic,
                next: 0,
                slot: None,
                waiting: None,
                deadline: None,
                overdue: false,
            });
        }
        let Some(round) = &mut self.round else {
            return Poll::Ready(());
        };
        while let Some(subscriber) = round.subscribers.get(round.next) {
            let Some(target) = subscriber.reach() else {
                // Its line, if it waited in one, must not keep room for it.
                if let Some((target, Some(place))) = round.waiting.take() {
                    target.give_up(place);
                }
                self.report.ended += round.topic.forget_ended(subscriber);
                round.next += 1;
                continue;
            };
            round.slot.get_or_insert_with(|| self.event.clone());
            let (target, place) = round.waiting.get_or_insert((target, None));
            let told = if round.overdue {
                target.tell(&mut round.slot)
            } else {
                target.tell_or_wait(&mut round.slot, place, cx.waker())
            };
            match told {
                Ok(()) => self.report.told += 1,
                Err(Refused::Closed) => self.report.ended += round.topic.forget_ended(subscriber),
                Err(Refused::Full) if round.overdue => self.report.missed.push(subscriber.id),
                Err(Refused::Full) => {
                    let now = self.services.now();
                    let deadline = *round
                        .deadline
                        .get_or_insert_with(|| self.services.moment_after(now, self.limit));
                    let timers = self.services.timers();
                    if timers
                        .poll_deadline(&mut self.timer, deadline, cx.waker())
                        .is_pending()
                    {
                        return Poll::Pending;
                    }
                    round.overdue = true;
                    if let Some(place) = place.take() {
                        target.give_up(place);
                    }
                    self.report.missed.push(subscriber.id);
                }
            }
            round.waiting = None;
            round.next += 1;
        }
        Poll::Ready(())
    }
}

// Nothing is pinned: the event is only moved and cloned.
impl<E: Message + Clone> Unpin for Publish<E> {}

impl<E: Message + Clone> Future for Publish<E> {
    type Output = PublishReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishReport> {
        let this = &mut *self;
        match this.walk(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                this.give_up();
                Poll::Ready(std::mem::take(&mut this.report))
            }
        }
    }
}

impl<E: Message + Clone> Drop for Publish<E> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<E: Message + Clone> fmt::Debug for Publish<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publish")
    }
}

/// What one subscriber answered to [`Events::publish_and_collect`](super::Events::publish_and_collect).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected<R> {
    /// Who answered.
    pub service: ServiceId,
    /// What it answered, or why it did not. [`CallError::Timeout`] also means that the time was up before its turn came; then it was
    /// not asked.
    pub reply: Result<R, CallError>,
}

/// Calls the subscribers of an event one after the other and collects what they answer, in their order. Made by
/// [`Events::publish_and_collect`](super::Events::publish_and_collect).
///
/// Who is asked is settled when the future is first polled. A subscriber that ended before its turn is left out.
///
/// # Cancel safety
///
/// Dropped half way, the handler that was being waited for goes on, those after it are not asked, and the replies so far are lost.
#[must_use = "nothing is published unless the future is awaited"]
pub struct Collect<E: Message + Clone> {
    services: Services,
    limit: Duration,
    event: Option<E>,
    asking: Option<Asking<E::Reply>>,
}

type Asking<R> = Pin<Box<dyn Future<Output = Vec<Collected<R>>> + Send>>;

impl<E: Message + Clone> Collect<E> {
    pub(crate) fn new(services: Services, event: E) -> Self {
        Self {
            limit: services.call_timeout(),
            services,
            event: Some(event),
            asking: None,
        }
    }

    /// Takes at most `limit` for all subscribers together, rounded up to the timer's tick (10 ms by default).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

async fn ask_all<E: Message + Clone>(
    services: Services,
    topic: Arc<Topic<E>>,
    event: E,
    limit: Duration,
) -> Vec<Collected<E::Reply>> {
    let subscribers = topic.snapshot();
    let mut collected = Vec::with_capacity(subscribers.len());
    let begun = services.now();
    for subscriber in subscribers.iter() {
        let Some(target) = subscriber.reach().filter(|target| !target.is_closed()) else {
            topic.forget_ended(subscriber);
            continue;
        };
        let left = limit.saturating_sub(services.now().saturating_duration_since(begun));
        let reply = if left.is_zero() {
            Err(CallError::Timeout)
        } else {
            let recipient = Recipient::of(target);
            recipient.call(event.clone()).timeout(left).await
        };
        collected.push(Collected {
            service: subscriber.id,
            reply,
        });
    }
    collected
}

// The event is moved, the calls are in a box.
impl<E: Message + Clone> Unpin for Collect<E> {}

impl<E: Message + Clone> Future for Collect<E> {
    type Output = Vec<Collected<E::Reply>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(event) = self.event.take() {
            let Some(topic) = self.services.topics().find::<E>() else {
                return Poll::Ready(Vec::new());
            };
            let asking = ask_all(self.services.clone(), topic, event, self.limit);
            self.asking = Some(Box::pin(asking));
        }
        match &mut self.asking {
            Some(asking) => asking.as_mut().poll(cx),
            None => Poll::Ready(Vec::new()),
        }
    }
}

impl<E: Message + Clone> fmt::Debug for Collect<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collect")
    }
}
