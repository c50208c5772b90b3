//! Hearing of the end of another service, and sharing it: [`Cx::monitor`] and [`Cx::link`].

use std::any::type_name;
use std::fmt;
use std::sync::Weak;

use super::any_handle::AnyHandle;
use super::block::Blocks;
use super::context::Cx;
use super::envelope::{Letter, Nobody, answer};
use super::exit::ExitReason;
use super::frame::Begun;
use super::mailbox::Ending;
use super::managed::Managed;
use super::message::Message;
use super::service::{Handler, Service};
use super::spans;
use super::ties::{self, Tie, TieKey};

impl<S: Service> Cx<S> {
    /// Sends this service the message that `message` makes once `other` has ended for good: its cleanup is over and its
    /// state dropped. If it has ended already, that is now.
    ///
    /// The message comes once, takes its place in the mailbox even if that is full, and is lost only if this service takes no more
    /// messages itself. A supervised service that is restarted has not ended.
    ///
    /// The monitor lasts until then, until it is [cancelled](Monitor::cancel), and until this service ends or, if it is
    /// supervised, fails: `on_start` sets it anew. Dropping the [`Monitor`] does not cancel it.
    ///
    /// ```
    /// use million::framework::{Cx, ExitReason, Handle, Handler, Message, Million, Service, StartError};
    ///
    /// struct Worker;
    /// impl Service for Worker {}
    ///
    /// struct Foreman { worker: Handle<Worker> }
    /// impl Service for Foreman {
    ///     async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
    ///         let worker = cx.state().worker.clone();
    ///         cx.monitor(&worker, WorkerGone);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct WorkerGone(ExitReason);
    /// impl Message for WorkerGone { type Reply = (); }
    /// impl Handler<WorkerGone> for Foreman {
    ///     async fn handle(cx: &Cx<Self>, message: WorkerGone) {
    ///         assert_eq!(message.0, ExitReason::Killed);
    ///         cx.stop();
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), million::framework::BuildError> {
    /// let million = Million::builder().workers(1).build()?;
    /// let worker = million.spawn(Worker);
    /// let foreman = million.spawn(Foreman { worker: worker.clone() });
    /// million.block_on(async {
    ///     worker.kill().await;
    ///     assert_eq!(foreman.closed().await, ExitReason::Stopped);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn monitor<M: Message>(
        &self,
        other: impl Into<AnyHandle>,
        message: impl FnOnce(ExitReason) -> M + Send + 'static,
    ) -> Monitor
    where
        S: Handler<M>,
    {
        let other = other.into();
        let key = TieKey::new();
        let me = self.weak();
        let life = self.life();
        let tell = Box::new(move |reason| {
            if let Some(me) = me.upgrade() {
                me.exit.untie(key);
                if me.life() == life {
                    me.push_beyond_capacity(
                        Ending::No,
                        spans::nobody(),
                        Departure { reason, message },
                    );
                }
            }
        });
        // First here: if the other ends meanwhile, it finds what it has to remove.
        let here: Weak<dyn Managed> = self.weak();
        let watched = Tie::Watches(std::sync::Arc::downgrade(other.managed()));
        if self.exit.tie(key, watched).is_ok()
            && let Err((Tie::Tells(tell), reason)) =
                other.managed().exit().tie(key, Tie::Tells(tell))
        {
            tell(reason);
        }
        Monitor {
            key,
            here,
            there: std::sync::Arc::downgrade(other.managed()),
        }
    }

    /// Ties the ends of this service and `other` together: if either ends, other than stopped in order, the other ends at once
    /// with [`ExitReason::Linked`], as if killed. If `other` has ended like that already, this one does.
    ///
    /// For a supervised service that is a failure, so it is restarted; a restart of its own is not an end, so the other
    /// one hears of it only when the supervisor gives up. Like a timer, a link belongs to the life whose handler made it: a restart of *this*
    /// service forgets it, and `on_start` makes it anew.
    ///
    /// ```
    /// use million::framework::{Cx, ExitReason, Handle, Million, Service, StartError};
    ///
    /// struct Reader;
    /// impl Service for Reader {}
    ///
    /// struct Writer { reader: Handle<Reader> }
    /// impl Service for Writer {
    ///     async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
    ///         let reader = cx.state().reader.clone();
    ///         cx.link(&reader);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), million::framework::BuildError> {
    /// let million = Million::builder().workers(1).build()?;
    /// let reader = million.spawn(Reader);
    /// let writer = million.spawn(Writer { reader: reader.clone() });
    /// let end = million.block_on(async {
    ///     reader.kill().await;
    ///     writer.closed().await
    /// });
    /// assert_eq!(end, ExitReason::Linked { id: reader.id(), reason: Box::new(ExitReason::Killed) });
    /// # Ok(())
    /// # }
    /// ```
    pub fn link(&self, other: impl Into<AnyHandle>) {
        let other = other.into();
        let key = TieKey::new();
        let here = Tie::Link {
            me: self.id,
            other: std::sync::Arc::downgrade(other.managed()),
            made_here: true,
        };
        let there = Tie::Link {
            me: other.id(),
            other: self.weak(),
            made_here: false,
        };
        if self.exit.tie(key, here).is_ok()
            && let Err((_, reason)) = other.managed().exit().tie(key, there)
        {
            self.exit.untie(key);
            ties::pull(self, other.id(), &reason);
        }
    }
}

/// The wait for another service's end. Made by [`Cx::monitor`]. Dropping it does not cancel it.
pub struct Monitor {
    key: TieKey,
    here: Weak<dyn Managed>,
    there: Weak<dyn Managed>,
}

impl Monitor {
    /// Sends nothing from now on. A message that is in the mailbox already is still handled.
    pub fn cancel(&self) {
        for end in [&self.here, &self.there] {
            if let Some(end) = end.upgrade() {
                end.exit().untie(self.key);
            }
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Monitor")
    }
}

/// The news of an end, of which the message is made when it is handled.
struct Departure<F> {
    reason: ExitReason,
    message: F,
}

impl<S, M, F> Letter<S> for Departure<F>
where
    S: Handler<M>,
    M: Message,
    F: FnOnce(ExitReason) -> M + Send + 'static,
{
    fn message() -> &'static str {
        type_name::<M>()
    }

    fn begin(self, cx: &'static Cx<S>, blocks: &mut Blocks) -> Begun {
        let Self { reason, message } = self;
        answer(|| S::handle(cx, message(reason)), Nobody, blocks)
    }
}
