//! Replies that are streams: bounded, in order, and their end is never in doubt.

use futures::StreamExt;
use million::framework::{
    CallError, Cx, Handle, Handler, Message, Options, PanicPolicy, ReceiverGone, Replies,
    RepliesOutcome, RepliesSender, Service, TryReplyError, replies,
};

use crate::support::{million, run};

#[derive(Default)]
struct Archive {
    sent: u32,
    came_back: Option<u32>,
}
impl Service for Archive {}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    InOrder,
    WithAPanic,
    Never,
}

struct ReadAll {
    capacity: usize,
    pages: u32,
    ends: Ends,
}
impl Message for ReadAll {
    type Reply = Replies<u32>;
}
impl Handler<ReadAll> for Archive {
    async fn handle(cx: &Cx<Self>, message: ReadAll) -> Replies<u32> {
        let (to, replies) = replies(message.capacity);
        cx.notify(Produce { to, message });
        replies
    }
}

struct Produce {
    to: RepliesSender<u32>,
    message: ReadAll,
}
impl Message for Produce {
    type Reply = ();
}
impl Handler<Produce> for Archive {
    async fn handle(cx: &Cx<Self>, mut produce: Produce) {
        for page in 0..produce.message.pages {
            if let Err(ReceiverGone(page)) = produce.to.send(page).await {
                cx.state().came_back = Some(page);
                return;
            }
            cx.state().sent += 1;
        }
        match produce.message.ends {
            Ends::InOrder => produce.to.finish(),
            Ends::WithAPanic => panic!("the archive burns"),
            Ends::Never => std::future::pending().await,
        }
    }
}

struct Progress;
impl Message for Progress {
    type Reply = (u32, Option<u32>);
}
impl Handler<Progress> for Archive {
    async fn handle(cx: &Cx<Self>, _: Progress) -> (u32, Option<u32>) {
        cx.with(|archive| (archive.sent, archive.came_back))
    }
}

async fn read(archive: &Handle<Archive>, capacity: usize, pages: u32, ends: Ends) -> Replies<u32> {
    let all = ReadAll {
        capacity,
        pages,
        ends,
    };
    archive.call(all).await.unwrap()
}

#[test]
fn replies_come_in_order_and_say_that_they_are_complete() {
    let million = million(2);
    let archive = million.spawn(Archive::default());
    run(&million, async {
        let mut replies = read(&archive, 2, 300, Ends::InOrder).await;
        assert_eq!(replies.next().await, Some(0));
        assert_eq!(replies.outcome(), None);
        let rest: Vec<u32> = replies.by_ref().collect().await;
        assert_eq!(rest, (1..300).collect::<Vec<_>>());
        assert_eq!(replies.outcome(), Some(RepliesOutcome::Finished));
        assert_eq!(replies.next().await, None, "an end stays an end");
    });
}

#[test]
fn a_producer_waits_for_its_receiver_while_its_service_goes_on() {
    let million = million(1);
    let archive = million.spawn(Archive::default());
    run(&million, async {
        let mut replies = read(&archive, 3, 100, Ends::InOrder).await;
        while archive.call(Progress).await.unwrap().0 < 3 {}
        for _ in 0..100 {
            assert_eq!(archive.call(Progress).await.unwrap(), (3, None));
        }
        replies.next().await.unwrap();
        while archive.call(Progress).await.unwrap().0 < 4 {}
        assert_eq!(replies.by_ref().count().await, 99);
        assert_eq!(replies.outcome(), Some(RepliesOutcome::Finished));
    });
}

#[test]
fn a_receiver_can_tell_that_the_producer_died() {
    let million = million(1);
    let options = Options::new().on_panic(PanicPolicy::Continue);
    let archive = million.spawn_with(options, Archive::default());
    run(&million, async {
        let mut panicked = read(&archive, 10, 5, Ends::WithAPanic).await;
        assert_eq!(panicked.by_ref().count().await, 5, "what was sent comes");
        assert_eq!(panicked.outcome(), Some(RepliesOutcome::BrokenOff));

        let mut hanging = read(&archive, 10, 5, Ends::Never).await;
        while archive.call(Progress).await.unwrap().0 < 10 {}
        assert_eq!(hanging.next().await, Some(0));
        archive.kill().await;
        assert_eq!(hanging.by_ref().count().await, 4);
        assert_eq!(hanging.outcome(), Some(RepliesOutcome::BrokenOff));
    });
}

#[test]
fn a_producer_that_never_began_is_told_from_one_that_had_nothing() {
    let million = million(1);
    run(&million, async {
        let archive = million.spawn(Archive::default());
        let mut nothing = read(&archive, 1, 0, Ends::InOrder).await;
        assert_eq!(nothing.next().await, None);
        assert_eq!(nothing.outcome(), Some(RepliesOutcome::Finished));
        archive.kill().await;
        let dead = archive.call(ReadAll {
            capacity: 1,
            pages: 1,
            ends: Ends::InOrder,
        });
        assert_eq!(dead.await.err(), Some(CallError::Closed));
        let (to, mut never) = replies::<u32>(1);
        drop(to);
        assert_eq!(never.next().await, None);
        assert_eq!(never.outcome(), Some(RepliesOutcome::BrokenOff));
    });
}

#[test]
fn a_producer_gets_its_item_back_when_nobody_listens() {
    let million = million(1);
    let archive = million.spawn(Archive::default());
    run(&million, async {
        let replies = read(&archive, 2, 100, Ends::InOrder).await;
        while archive.call(Progress).await.unwrap().0 < 2 {}
        drop(replies);
        let page = loop {
            if let (_, Some(page)) = archive.call(Progress).await.unwrap() {
                break page;
            }
        };
        assert_eq!(page, 2);
    });
}

#[test]
fn a_full_stream_of_replies_refuses_at_once_and_tells_when_the_receiver_goes() {
    let million = million(1);
    run(&million, async {
        let (mut to, replies) = replies(1);
        assert_eq!(to.try_send(1), Ok(()));
        assert_eq!(to.try_send(2), Err(TryReplyError::Full(2)));
        assert!(!to.is_closed());
        futures::join!(to.closed(), async { drop(replies) });
        assert!(to.is_closed());
        assert_eq!(to.try_send(3), Err(TryReplyError::Gone(3)));
    });
}
