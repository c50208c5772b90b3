//! Writing once for many.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Runs `connection` so that what is ready to run when it is woken runs first.
///
/// Who sends a frame wakes its connection, and tokio would run that next, to write this one frame. Those who send at the same
/// time would cost a system call each, and the peer one to read it. Instead the connection goes to the end of tokio's queue,
/// which takes no time when nobody else is ready.
pub(in crate::etcd_service) async fn after_all_others<F: Future>(connection: F) -> F::Output {
    let mut connection = pin!(connection);
    let mut is_last = true;
    poll_fn(|cx| {
        is_last = !is_last;
        if is_last {
            return connection.as_mut().poll(cx);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
