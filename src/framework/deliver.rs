//! Delivery: how a service takes what its handles and recipients bring.

use std::sync::Arc;

use super::context::{Cx, ServiceId};
use super::direct::{self, Answered};
use super::envelope::{Ask, Envelope, ReplySender, Tell};
use super::exit::{Closed, ExitReason};
use super::mailbox::Refused;
use super::managed::Managed;
use super::message::Message;
use super::recipient::Deliver;
use super::service::{Handler, Service};
use super::services::Services;
use super::spans;
use super::state::Running;
use super::waiting_line::Place;

/// Messages that carry the span of their sender. It is found before the mailbox's lock is taken: subscribers are foreign code.
impl<S: Service> Cx<S> {
    #[cold]
    fn tell_in_a_span<M: Message>(
        &self,
        message: &mut Option<M>,
    ) -> Result<Option<Arc<Self>>, Refused>
    where
        S: Handler<M>,
    {
        let mut sender = spans::sender();
        self.mailbox
            .try_push(|| Envelope::from(&mut sender, Tell(take(message))))
    }

    #[cold]
    fn tell_or_wait_in_a_span<M: Message>(
        &self,
        message: &mut Option<M>,
        place: &mut Option<Place>,
        waker: &std::task::Waker,
    ) -> Result<Option<Arc<Self>>, Refused>
    where
        S: Handler<M>,
    {
        let mut sender = spans::sender();
        self.mailbox.push_or_wait(place, waker, || {
            Envelope::from(&mut sender, Tell(take(message)))
        })
    }
}

impl<S: Handler<M>, M: Message> Deliver<M> for Cx<S> {
    fn tell(&self, message: &mut Option<M>) -> Result<(), Refused> {
        let woken = if spans::are_wanted() {
            self.tell_in_a_span(message)?
        } else {
            self.mailbox
                .try_push(|| Envelope::new(Tell(take(message))))?
        };
        self.follow_up(woken);
        Ok(())
    }

    fn tell_or_wait(
        &self,
        message: &mut Option<M>,
        place: &mut Option<Place>,
        waker: &std::task::Waker,
    ) -> Result<(), Refused> {
        let woken = if spans::are_wanted() {
            self.tell_or_wait_in_a_span(message, place, waker)?
        } else {
            self.mailbox
                .push_or_wait(place, waker, || Envelope::new(Tell(take(message))))?
        };
        self.follow_up(woken);
        Ok(())
    }

    fn ask_or_wait(
        &self,
        ask: &mut Option<(M, ReplySender<M::Reply>)>,
        place: &mut Option<Place>,
        waker: &std::task::Waker,
    ) -> Result<(), Refused> {
        let mut sender = spans::sender();
        let woken = self.mailbox.push_or_wait(place, waker, || {
            let (message, reply) = take(ask);
            Envelope::from(&mut sender, Ask { message, reply })
        })?;
        self.follow_up(woken);
        Ok(())
    }

    fn ask_at_once(&self, message: &mut Option<M>) -> Answered<M::Reply> {
        direct::ask(self, message)
    }

    fn give_up(&self, place: Place) {
        self.mailbox.give_up(place);
    }

    fn services(&self) -> &Services {
        &self.services
    }

    fn running(&self) -> Running {
        Cx::running(self)
    }

    fn is_running_here(&self) -> bool {
        Running::here().is_some_and(|running| running.key == self.state.key())
    }

    fn id(&self) -> ServiceId {
        self.id
    }

    fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }

    fn exit_reason(&self) -> Option<ExitReason> {
        self.exit.reason()
    }

    fn closed(&self) -> Closed {
        Closed::of(self.shared())
    }

    fn service(&self) -> Arc<dyn Managed> {
        self.shared()
    }
}

fn take<T>(slot: &mut Option<T>) -> T {
    slot.take()
        .expect("a message is delivered once, and comes back to its slot only when refused")
}
