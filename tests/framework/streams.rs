//! Attached streams: their items are messages, with backpressure, and their end is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{Stream, StreamExt, stream};
use million::framework::{Attached, Cx, Handle, Handler, Message, Options, Service, StreamEnd};
use tokio::sync::Semaphore;

use crate::support::{gate, million, run};

#[derive(Default)]
struct Reader {
    items: Vec<u32>,
    end: Option<StreamEnd>,
    gate: Option<Arc<Semaphore>>,
    attached: Option<Attached>,
}
impl Service for Reader {}

struct Item(u32);
impl Message for Item {
    type Reply = ();
}
impl Handler<Item> for Reader {
    async fn handle(cx: &Cx<Self>, item: Item) {
        let gate = cx.state().gate.clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        cx.state().items.push(item.0);
    }
}

struct End(StreamEnd);
impl Message for End {
    type Reply = ();
}
impl Handler<End> for Reader {
    async fn handle(cx: &Cx<Self>, end: End) {
        cx.state().end = Some(end.0);
    }
}

struct Read;
impl Message for Read {
    type Reply = (Vec<u32>, Option<StreamEnd>);
}
impl Handler<Read> for Reader {
    async fn handle(cx: &Cx<Self>, _: Read) -> (Vec<u32>, Option<StreamEnd>) {
        cx.with(|reader| (reader.items.clone(), reader.end.clone()))
    }
}

type Numbers = std::pin::Pin<Box<dyn Stream<Item = u32> + Send>>;

/// Attaches a stream, and returns what is attached unless the service is to keep it.
struct Attach {
    numbers: Numbers,
    keep: bool,
}
impl Message for Attach {
    type Reply = Option<Attached>;
}
impl Handler<Attach> for Reader {
    async fn handle(cx: &Cx<Self>, message: Attach) -> Option<Attached> {
        let attached = cx.attach_until_end(message.numbers, Item, End);
        if message.keep {
            cx.state().attached = Some(attached);
            return None;
        }
        Some(attached)
    }
}

async fn attach(
    reader: &Handle<Reader>,
    numbers: impl Stream<Item = u32> + Send + 'static,
) -> Attached {
    let numbers = Box::pin(numbers);
    let attached = reader.call(Attach {
        numbers,
        keep: false,
    });
    attached.await.unwrap().expect("it was not kept")
}

#[test]
fn items_come_in_order_and_the_end_after_the_last() {
    let million = million(2);
    let reader = million.spawn_with(Options::new().mailbox(3), Reader::default());
    run(&million, async {
        let attached = attach(&reader, stream::iter(0..500)).await;
        assert_eq!(attached.await, StreamEnd::Finished);
        let (items, end) = reader.call(Read).await.unwrap();
        assert_eq!(items, (0..500).collect::<Vec<_>>());
        assert_eq!(end, Some(StreamEnd::Finished));
    });
}

#[test]
fn a_stream_is_not_polled_while_its_last_item_waits_for_room() {
    let million = million(1);
    let gate = gate();
    let reader = million.spawn_with(
        Options::new().mailbox(2).max_in_flight(1),
        Reader {
            gate: Some(gate.clone()),
            ..Reader::default()
        },
    );
    let polled = Arc::new(AtomicUsize::new(0));
    run(&million, async {
        let counter = polled.clone();
        let numbers = stream::iter(0..100).inspect(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let attached = attach(&reader, numbers).await;
        // One is being handled, two are queued, one waits for room.
        while polled.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            million.io(tokio::task::yield_now()).await.unwrap();
        }
        assert_eq!(polled.load(Ordering::SeqCst), 4);
        gate.add_permits(100);
        assert_eq!(attached.await, StreamEnd::Finished);
        assert_eq!(reader.call(Read).await.unwrap().0.len(), 100);
    });
}

#[test]
fn a_panic_of_the_stream_is_told_after_its_items() {
    let million = million(1);
    let reader = million.spawn(Reader::default());
    run(&million, async {
        let numbers = stream::iter(0..5).inspect(|number| assert!(*number < 3, "no page {number}"));
        let ended = attach(&reader, numbers).await.await;
        assert_eq!(ended, StreamEnd::Panicked("no page 3".to_owned()));
        let (items, end) = reader.call(Read).await.unwrap();
        assert_eq!(items, [0, 1, 2]);
        assert_eq!(end, Some(ended));
    });
}

/// Adds a permit when it is dropped.
struct Tells(Arc<Semaphore>);
impl Drop for Tells {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Yields one item and then nothing for ever; tells when it is dropped.
fn endless(dropped: &Arc<Semaphore>) -> impl Stream<Item = u32> + Send + 'static {
    let tells = Tells(dropped.clone());
    stream::iter([1]).chain(stream::pending().inspect(move |_: &u32| {
        let _held = &tells;
    }))
}

#[test]
fn dropping_what_is_attached_drops_the_stream() {
    let million = million(1);
    let reader = million.spawn(Reader::default());
    let dropped = gate();
    run(&million, async {
        drop(attach(&reader, endless(&dropped)).await);
        dropped.acquire().await.unwrap().forget();
        let attached = attach(&reader, endless(&dropped)).await;
        attached.abort();
        assert_eq!(attached.await, StreamEnd::Aborted);
        dropped.acquire().await.unwrap().forget();
        assert_eq!(reader.call(Read).await.unwrap().1, None);
    });
}

#[test]
fn a_stream_is_dropped_when_its_service_ends() {
    let million = million(1);
    let dropped = gate();
    run(&million, async {
        for keep in [true, false] {
            let reader = million.spawn(Reader::default());
            let numbers = Box::pin(endless(&dropped));
            let attached = reader.call(Attach { numbers, keep }).await.unwrap();
            let end = attached.map(|attached| million.io(attached));
            while reader.call(Read).await.unwrap().0.is_empty() {}
            reader.stop().await;
            dropped.acquire().await.unwrap().forget();
            if let Some(end) = end {
                assert_eq!(end.await.unwrap(), StreamEnd::ServiceClosed);
            }
        }
    });
}

#[test]
fn a_stream_that_always_has_more_leaves_the_io_runtime_to_others() {
    const ITEMS: u32 = 10_000;
    let million = million(1);
    let reader = million.spawn_with(Options::new().mailbox(2 * ITEMS), Reader::default());
    let services = million.services();
    let others_ran = Arc::new(AtomicBool::new(false));
    run(&million, async {
        let seen = others_ran.clone();
        // The first item starts another future on the only thread of the IO runtime.
        let numbers = stream::iter(0..=ITEMS).map(move |number| {
            if number == 0 {
                let ran = others_ran.clone();
                services
                    .io(async move { ran.store(true, Ordering::SeqCst) })
                    .detach();
            }
            if number < ITEMS {
                0
            } else {
                u32::from(seen.load(Ordering::SeqCst))
            }
        });
        assert_eq!(attach(&reader, numbers).await.await, StreamEnd::Finished);
        let (items, _) = reader.call(Read).await.unwrap();
        assert_eq!(
            items.last(),
            Some(&1),
            "the other future had to wait for the last item"
        );
    });
}
