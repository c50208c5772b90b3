//! Call cycles: services that wait for each other for ever, found when the call is made that would close the circle.
//!
//! A service with [`max_in_flight(1)`](super::Options::max_in_flight) starts no message while its handler waits. If that waits for the reply of a second such
//! service, and that one for the reply of the first, nobody ever goes on:
//!
//! ```text
//! Account(3) ──calls──▶ Limits(4) ──calls──▶ Account(3): ends at once with CallError::Cycle
//! ```
//!
//! So each call from one such service to another is kept in a graph for as long as it lasts. Other calls are not in it: they
//! pay for one comparison. The graph is one for the process, because a circle may pass through several `Million`s.
//!
//! Promises:
//!
//! - A call that would close a circle is not sent, and ends when it is first polled. Of calls that close one circle
//!   at the same moment one ends, and the others go on.
//! - No call ends so without a circle: it is looked for twice, and the second time nobody can change the graph.
//! - What a handler has polled once counts as waited for until it is dropped, it is polled elsewhere, or the handler ends.
//! - What happens does not depend on addresses or on the order of a hash table: it is only ever asked for keys.

use std::any::type_name;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::context::ServiceId;
use super::error::CallError;
use super::state::Running;
use super::wait_graph::{Exclusive, WaitGraph};

/// Services that would wait for each other for ever: the first for the second, …, the last for the first.
///
/// It is displayed as the chain with the services' numbers: `Account(3) → Limits(4) → Account(3)`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallCycle(Arc<Vec<(&'static str, ServiceId)>>);

impl CallCycle {
    fn of(services: &[Exclusive]) -> Self {
        let names = services
            .iter()
            .map(|service| ((service.name)(), ServiceId(service.id)));
        Self(Arc::new(names.collect()))
    }

    /// Reports that a call with an `M` was refused.
    pub(crate) fn refuses<M>(self) -> CallError {
        let (service, id) = self.0.first().copied().unwrap_or(("", ServiceId(0)));
        tracing::error!(
            service,
            id = id.0,
            calling = type_name::<M>(),
            cycle = %self,
            "a call was refused: the services in the cycle handle one message at a time and would wait for each other for ever"
        );
        CallError::Cycle(self)
    }

    /// The name of each service's type and its number, the one whose call was refused first. Numbers are unique in one
    /// `Million`.
    pub fn services(&self) -> impl ExactSizeIterator<Item = (&'static str, ServiceId)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for CallCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, id) in self.0.iter() {
            write!(f, "{}({id}) → ", without_paths(name))?;
        }
        match self.0.first() {
            Some((name, id)) => write!(f, "{}({id})", without_paths(name)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CallCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallCycle({self})")
    }
}

/// The name of a type without the paths of its parts.
fn without_paths(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut word = 0;
    for letter in name.chars() {
        short.push(letter);
        if short.ends_with("::") {
            short.truncate(word);
        } else if !(letter.is_alphanumeric() || letter == '_' || letter == ':') {
            word = short.len();
        }
    }
    short
}

/// A handler of a service waits for a call to another; both handle one message at a time. It is over when this is dropped.
pub(crate) struct Wait {
    from: NonZeroUsize,
    number: u64,
}

static GRAPH: WaitGraph = WaitGraph::new();

impl Wait {
    /// The handler that is running here begins to wait for `target`. `None`: one of the two goes on with other messages meanwhile, or this
    /// is no handler.
    pub(crate) fn begin(target: Running) -> Result<Option<Self>, CallCycle> {
        if !target.exclusive {
            return Ok(None);
        }
        let Some((from, to)) = Running::here()
            .filter(|here| here.exclusive)
            .and_then(|here| Some((Exclusive::of(here)?, Exclusive::of(target)?)))
        else {
            return Ok(None);
        };
        let number = GRAPH.put(from, to).map_err(|cycle| CallCycle::of(&cycle))?;
        Running::note_wait();
        Ok(Some(Self {
            from: from.key,
            number,
        }))
    }

    /// Whether this is the handler that waits, or another of its service.
    pub(crate) fn is_here(&self) -> bool {
        Running::here().is_some_and(|here| here.key.addr() == self.from.get())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        GRAPH.take(self.from, self.number);
    }
}

/// The only handler of `service` has ended, so it waits for nothing, though a call that it began may live on elsewhere.
pub(crate) fn handler_ended(service: Running) {
    if let Some(service) = Exclusive::of(service) {
        GRAPH.forget(service.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: u64) -> Exclusive {
        Exclusive {
            key: NonZeroUsize::MIN,
            name: || "some::path::Account<other::Currency>",
            id,
        }
    }

    #[test]
    fn a_chain_is_shown_with_short_names_and_numbers() {
        let cycle = CallCycle::of(&[account(3), account(4)]);
        let shown = "Account<Currency>(3) → Account<Currency>(4) → Account<Currency>(3)";
        assert_eq!(cycle.to_string(), shown);
        assert_eq!(without_paths("(a::B, &c::d_e::F)"), "(B, &F)");
        assert_eq!(without_paths("Plain"), "Plain");
    }
}
