//! Typed events: whoever publishes does not know who listens.
//!
//! ```text
//! publish(event) ──▶ topic of the event's type ──▶ a snapshot of its subscribers, by priority
//!                                                     └─▶ a clone into each mailbox, one after the other
//! ```
//!
//! Promises:
//!
//! - **Order of subscribers.** The higher priority is told first; among equals, who subscribed first.
//! - **Order of events.** A publisher that awaits one [`Publish`] before the next is heard by each subscriber in that order.
//! - **Backpressure.** [`Events::publish`] waits for room in each mailbox in its turn, all together within one limit;
//!   who had no room by then has missed the event, and the report names it. Nothing is buffered anywhere else.
//! - **Ended subscribers are forgotten**, and a subscription keeps neither a service running nor its memory.
//! - **No lock is held** while anyone waits: subscribing and cancelling never wait for a publisher.

use std::any::{Any, TypeId};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::context::{Cx, ServiceId};
use super::mailbox::Refused;
use super::managed::Managed;
use super::message::Message;
use super::publish::{Collect, Publish, PublishReport};
use super::recipient::{Deliver, Recipient};
use super::service::Service;
use super::services::Services;
use super::sync::Mutex;
use super::ties::TieKey;

/// A topic looks for ended subscribers when it has twice as many as after the last look, but not before it has these: so
/// the look costs nothing on average, and what has ended never outweighs what lives by more.
const FIRST_LOOK: usize = 32;

/// The typed events of a [`Million`](super::Million): subscribe to a type of message, publish to all who did.
///
/// Any [`Message`] that is `Clone` is an event. Made by [`Services::events`] and [`Cx::events`].
///
/// ```
/// use million::framework::{Cx, Handler, Message, Million, Service};
///
/// #[derive(Clone)]
/// struct PriceChanged(u64);
/// impl Message for PriceChanged {
///     type Reply = &'static str;
/// }
///
/// struct Shelf(&'static str);
/// impl Service for Shelf {}
/// impl Handler<PriceChanged> for Shelf {
///     async fn handle(cx: &Cx<Self>, _: PriceChanged) -> &'static str {
///         cx.state().0
///     }
/// }
///
/// # fn main() -> Result<(), million::framework::BuildError> {
/// let million = Million::builder().workers(1).build()?;
/// let events = million.events();
/// events.subscribe::<PriceChanged>(&million.spawn(Shelf("label")), 0);
/// events.subscribe::<PriceChanged>(&million.spawn(Shelf("till")), 10);
/// million.block_on(async {
///     let report = events.publish(PriceChanged(199)).await;
///     assert_eq!(report.told, 2);
///     let replies = events.publish_and_collect(PriceChanged(249)).await;
///     let names: Vec<_> = replies.into_iter().filter_map(|said| said.reply.ok()).collect();
///     assert_eq!(names, ["till", "label"]);
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Events(Services);

impl Services {
    /// The typed events of this `Million`.
    pub fn events(&self) -> Events {
        Events(self.clone())
    }
}

impl<S: Service> Cx<S> {
    /// The typed events of this service's `Million`.
    pub fn events(&self) -> Events {
        self.services().events()
    }
}

impl Events {
    /// From now on `subscriber`, a handle or a recipient, is told each event of type `E`. The higher `priority` comes first;
    /// among equals, who subscribed first.
    ///
    /// It holds until it is [cancelled](Subscription::cancel) or the service ends; dropping the [`Subscription`] does not end it, just as
    /// dropping a [`Timer`](super::Timer) does not. What a handler of a supervised service subscribes it to also ends with a restart, for
    /// `on_start` to do it anew. Who subscribes twice is told twice. A service that takes no more messages is not
    /// subscribed.
    pub fn subscribe<E: Message + Clone>(
        &self,
        subscriber: impl Into<Recipient<E>>,
        priority: i32,
    ) -> Subscription {
        let recipient = subscriber.into();
        let topic = self.0.topics().obtain::<E>();
        let membership = Arc::new(Membership {
            topic: Arc::downgrade(&topic),
            subscriber: topic.add(&recipient, priority),
            bond: OnceLock::new(),
        });
        let service = recipient.service();
        let ends = Arc::clone(&membership);
        if let Some(key) = service.bind(Box::new(move || ends.leave())) {
            // It is new, so nobody has set it before.
            let _ = membership.bond.set((Arc::downgrade(&service), key));
        }
        Subscription(membership)
    }

    /// Tells all subscribers of `E`, in their order, waiting for room in each mailbox.
    ///
    /// Who is told is settled when the future is first polled. All waits together take at most the default call timeout
    /// ([`Services::call_timeout`]), or what [`Publish::timeout`] says; whoever has no room by then misses the event, and those after it are
    /// told if they have room.
    pub fn publish<E: Message + Clone>(&self, event: E) -> Publish<E> {
        Publish::new(self.0.clone(), event)
    }

    /// Tells those subscribers of `E` that have room now, in their order. Never waits.
    pub fn try_publish<E: Message + Clone>(&self, event: E) -> PublishReport {
        let mut report = PublishReport::default();
        let Some(topic) = self.0.topics().find::<E>() else {
            return report;
        };
        let mut slot = None;
        for subscriber in topic.snapshot().iter() {
            let Some(target) = subscriber.reach() else {
                report.ended += topic.forget_ended(subscriber);
                continue;
            };
            slot.get_or_insert_with(|| event.clone());
            match target.tell(&mut slot) {
                Ok(()) => report.told += 1,
                Err(Refused::Full) => report.missed.push(subscriber.id),
                Err(Refused::Closed) => report.ended += topic.forget_ended(subscriber),
            }
        }
        report
    }

    /// Calls the subscribers of `E` one after the other, in their order, so that each may see what those before it did, and
    /// collects their replies in that order.
    ///
    /// All calls together take at most the default call timeout, or what [`Collect::timeout`] says.
    pub fn publish_and_collect<E: Message + Clone>(&self, event: E) -> Collect<E> {
        Collect::new(self.0.clone(), event)
    }

    /// How many subscriptions to `E` there are. Some of their services may have ended since somebody last looked.
    pub fn subscribers<E: Message + Clone>(&self) -> usize {
        self.0
            .topics()
            .find::<E>()
            .map_or(0, |topic| topic.snapshot().len())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// That a service is told a type of event. Made by [`Events::subscribe`]. Dropping it does not end it.
pub struct Subscription(Arc<dyn Cancel>);

impl Subscription {
    /// Ends the subscription. A publication that is under way and has not come to this subscriber passes it over; an event that is
    /// in its mailbox already is still handled.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// A [`Membership`] whose type of event is erased.
trait Cancel: Send + Sync {
    fn cancel(&self);
}

struct Membership<E: Message> {
    topic: Weak<Topic<E>>,
    subscriber: Arc<Subscriber<E>>,
    /// What ends it with the life of the service in which it was made.
    bond: OnceLock<(Weak<dyn Managed>, TieKey)>,
}

impl<E: Message> Cancel for Membership<E> {
    fn cancel(&self) {
        if let Some((service, key)) = self.bond.get()
            && let Some(service) = service.upgrade()
        {
            service.exit().untie(*key);
        }
        self.leave();
    }
}

impl<E: Message> Membership<E> {
    fn leave(&self) {
        self.subscriber.cancelled.store(true, Ordering::Release);
        if let Some(topic) = self.topic.upgrade() {
            topic.remove(&self.subscriber);
        }
    }
}

/// The topics of a `Million`, one for each type of event that was ever subscribed to.
#[derive(Default)]
pub(crate) struct Topics(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Topics {
    pub(crate) fn find<E: Message>(&self) -> Option<Arc<Topic<E>>> {
        let topic = self.0.lock().get(&TypeId::of::<E>()).cloned()?;
        topic.downcast().ok()
    }

    fn obtain<E: Message>(&self) -> Arc<Topic<E>> {
        let topic = Arc::clone(
            self.0
                .lock()
                .entry(TypeId::of::<E>())
                .or_insert_with(|| Arc::new(Topic::<E>::new())),
        );
        topic
            .downcast()
            .expect("a topic is kept under the type of its events")
    }
}

pub(crate) struct Subscriber<E: Message> {
    pub(crate) id: ServiceId,
    priority: i32,
    serial: u64,
    /// Weak: a live service is held by its `Million`, an ended one by nobody.
    target: Weak<dyn Deliver<E>>,
    cancelled: AtomicBool,
}

impl<E: Message> Subscriber<E> {
    /// Where to deliver, unless the subscription was cancelled or the service is gone.
    pub(crate) fn reach(&self) -> Option<Arc<dyn Deliver<E>>> {
        if self.cancelled.load(Ordering::Acquire) {
            return None;
        }
        self.target.upgrade()
    }

    fn ended(&self) -> bool {
        self.target
            .upgrade()
            .is_none_or(|target| target.is_closed())
    }

    fn place(&self) -> (Reverse<i32>, u64) {
        (Reverse(self.priority), self.serial)
    }
}

/// Subscribers in their order, shared with publications under way.
pub(crate) type Snapshot<E> = Arc<Vec<Arc<Subscriber<E>>>>;

pub(crate) struct Topic<E: Message>(Mutex<State<E>>);

struct State<E: Message> {
    subscribers: Snapshot<E>,
    serial: u64,
    look_at: usize,
}

impl<E: Message> Topic<E> {
    fn new() -> Self {
        Self(Mutex::new(State {
            subscribers: Arc::default(),
            serial: 0,
            look_at: FIRST_LOOK,
        }))
    }

    pub(crate) fn snapshot(&self) -> Snapshot<E> {
        Arc::clone(&self.0.lock().subscribers)
    }

    fn add(&self, recipient: &Recipient<E>, priority: i32) -> Arc<Subscriber<E>> {
        let closed = recipient.is_closed();
        let mut state = self.0.lock();
        state.serial += 1;
        let subscriber = Arc::new(Subscriber {
            id: recipient.id(),
            priority,
            serial: state.serial,
            target: recipient.downgrade(),
            cancelled: AtomicBool::new(closed),
        });
        if closed {
            return subscriber;
        }
        if state.subscribers.len() >= state.look_at {
            Arc::make_mut(&mut state.subscribers).retain(|known| !known.ended());
            state.look_at = FIRST_LOOK.max(state.subscribers.len() * 2);
        }
        let subscribers = Arc::make_mut(&mut state.subscribers);
        let at = subscribers.partition_point(|known| known.place() < subscriber.place());
        subscribers.insert(at, Arc::clone(&subscriber));
        subscriber
    }

    fn remove(&self, subscriber: &Subscriber<E>) -> bool {
        let mut state = self.0.lock();
        let found = state
            .subscribers
            .binary_search_by_key(&subscriber.place(), |known| known.place());
        match found {
            Ok(at) => {
                Arc::make_mut(&mut state.subscribers).remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Forgets a subscriber that could not be reached. Returns 1 if that is because its service has ended, 0 if it cancelled.
    pub(crate) fn forget_ended(&self, subscriber: &Subscriber<E>) -> usize {
        self.remove(subscriber);
        usize::from(!subscriber.cancelled.load(Ordering::Acquire))
    }
}
