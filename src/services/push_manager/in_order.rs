//! Many calls at once, handed over in order.

use std::future::{Future, poll_fn};
use std::task::Poll;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// Waits for all of `calls`, and gives `each` result as it comes.
///
/// The first poll of this polls every call once, in order, before it returns. A [`Call`](crate::framework::Call) promises to hand its
/// message over in its first poll, or to take its place in the line there, so two of these that are begun one after the other reach every
/// service in that order.
/// (`join_all` promises less: with many futures it may end its poll early, and go on after somebody else's.)
pub(crate) async fn in_order<F>(calls: impl Iterator<Item = F>, mut each: impl FnMut(F::Output))
where
    F: Future + Unpin,
{
    let mut calls = Some(calls);
    let mut waiting = poll_fn(|cx| {
        let waiting = FuturesUnordered::new();
        for mut call in calls.take().into_iter().flatten() {
            match std::pin::Pin::new(&mut call).poll(cx) {
                Poll::Ready(result) => each(result),
                Poll::Pending => waiting.push(call),
            }
        }
        Poll::Ready(waiting)
    })
    .await;
    while let Some(result) = waiting.next().await {
        each(result);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_first_poll_begins_every_call_in_order() {
        let begun = RefCell::new(Vec::new());
        let calls = (0..500).map(|number| {
            let begun = &begun;
            let mut first = true;
            poll_fn(move |cx| {
                if std::mem::take(&mut first) {
                    begun.borrow_mut().push(number);
                    // A service that answers at once wakes the caller while that is still polling.
                    cx.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            })
        });
        let mut all = Box::pin(in_order(calls, |()| {}));
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(*begun.borrow(), (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn every_result_comes_once() {
        let calls = (0..100).map(|number| {
            let mut pauses = number % 3;
            poll_fn(move |cx| {
                if pauses == 0 {
                    return Poll::Ready(number);
                }
                pauses -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        });
        let mut results = Vec::new();
        futures::executor::block_on(in_order(calls, |number| results.push(number)));
        results.sort_unstable();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }
}
