//! What concurrent clients asked of one key and were answered, and when.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A value. Each is written at most once in a recorded history.
pub(crate) type Value = u64;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Get,
    Put(Value),
    Delete,
    /// Put `new` if there is `expected`, else get what there is; in one transaction.
    Swap {
        expected: Option<Value>,
        new: Value,
    },
}

/// What it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// To a get, and to a swap that found something else: what there is.
    Found(Option<Value>),
    /// To a put.
    Written,
    /// To a delete: whether there was something.
    Deleted(bool),
    /// To a swap that was done.
    Swapped,
    /// To what writes: it may have been done, may be done at any time from now on, or never.
    Unknown,
}

/// One question and its answer. Times are of one clock that all clients share, and all different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) key: u32,
    pub(crate) action: Action,
    pub(crate) reply: Reply,
    pub(crate) called: u64,
    pub(crate) returned: u64,
}

impl Operation {
    /// Whether this one had its answer before `other` was asked.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.reply != Reply::Unknown && self.returned < other.called
    }
}

/// Writes down what clients ask and are answered.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    clock: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl Recorder {
    /// The time, to be taken just before a question is asked.
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes an answer that has just come. Not to be called for what certainly was not done: that is as if never asked.
    pub(crate) fn note(&self, key: u32, action: Action, called: u64, reply: Reply) {
        let operation = Operation {
            key,
            action,
            reply,
            called,
            returned: self.now(),
        };
        self.operations.lock().unwrap().push(operation);
    }

    /// What was noted.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap().clone()
    }
}
