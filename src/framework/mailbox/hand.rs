//! What whoever has the service has in hand: the messages it will start, the handlers it will resume.

use std::collections::VecDeque;

/// Buffers of up to this length (3 KiB) are kept, so that a service which gets a few messages at a time never allocates.
const KEPT_LENGTH: usize = 64;

/// A longer one is given back after so many times in a row that needed only a fraction of it.
const CALM: u8 = 64;

pub(crate) struct Hand<E, R, T> {
    pub(super) messages: VecDeque<E>,
    /// The handler that woke the service from its rest, if that was one.
    pub(super) first: Option<R>,
    /// The service as run queues know it, while it rests: it keeps itself, so that waking it costs no counting.
    pub(super) service: Option<T>,
    calm: u8,
}

impl<E, R, T> Hand<E, R, T> {
    pub(super) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            first: None,
            service: None,
            calm: 0,
        }
    }

    /// Swaps its empty buffer for the full one of `queue`.
    pub(super) fn take_up(&mut self, queue: &mut VecDeque<E>) {
        std::mem::swap(&mut self.messages, queue);
        if self.messages.len() >= self.messages.capacity() / 8 {
            self.calm = 0;
        }
    }

    /// The service is about to rest, with nothing to start. Small buffers stay, so that tells do not allocate; large ones are
    /// given back once they were not needed for some time.
    pub(super) fn keep_buffers(&mut self, queue: &mut VecDeque<E>) {
        if self.messages.capacity() < queue.capacity() {
            std::mem::swap(&mut self.messages, queue);
        }
        if self.messages.capacity() <= KEPT_LENGTH {
            return;
        }
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            self.messages = VecDeque::new();
            *queue = VecDeque::new();
        }
    }
}
