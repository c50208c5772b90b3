//! A `Million` inside other programs: many, dropped anywhere, on a borrowed runtime.

use std::sync::Arc;
use std::time::Duration;

use million::framework::{Cx, Handler, Message, Million, Service};

use crate::support::{Done, Note, Recorder, million, run, threads, until_no_threads};

#[test]
fn several_in_one_process_do_not_meet() {
    let (one, two) = (million(1), million(1));
    let service = one.spawn(Recorder::default());
    one.register("name", &service).unwrap();
    assert!(two.find::<Recorder>("name").is_none());
    let other = two.spawn(Recorder::default());
    run(&two, async {
        service.call(Note(1)).await.unwrap();
        assert_eq!(other.call(Done).await, Ok(Vec::new()));
        assert_eq!(service.call(Done).await, Ok(vec![1]));
    });
}

#[test]
fn services_read_their_own_section_of_the_settings() {
    let settings = million::framework::settings::Settings::parse(
        "worker_mgr: { num: 1 }\nledger: { currency: EUR }\n",
        "test.yaml",
    )
    .unwrap();
    let million = Million::builder().settings(&settings).build().unwrap();
    let services = million.services();
    let section: Option<std::collections::BTreeMap<String, String>> =
        services.settings().section("ledger").unwrap();
    assert_eq!(section.unwrap()["currency"], "EUR");
}

#[test]
fn a_host_lends_its_runtime() {
    let host = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("host")
        .enable_all()
        .build()
        .unwrap();
    struct Where;
    impl Message for Where {
        type Reply = Option<String>;
    }
    impl Handler<Where> for Recorder {
        async fn handle(cx: &Cx<Self>, _: Where) -> Option<String> {
            let name = cx.io(async { std::thread::current().name().map(str::to_owned) });
            cx.sleep(Duration::from_millis(1)).await;
            name.await.unwrap()
        }
    }
    let million = Million::builder()
        .workers(1)
        .io_runtime(host.handle().clone())
        .build()
        .unwrap();
    let service = million.spawn(Recorder::default());
    assert_eq!(service.blocking_call(Where), Ok(Some("host".to_owned())));
    let report = host.block_on(million.shutdown(Duration::from_secs(5)));
    assert!(report.is_clean());
    drop(million);
    assert_eq!(host.block_on(async { 1 }), 1, "the host's runtime goes on");
}

#[test]
fn dropped_inside_async_code_it_neither_panics_nor_hangs() {
    let host = tokio::runtime::Runtime::new().unwrap();
    host.block_on(async {
        let million = million(2);
        let service = million.spawn(Recorder::default());
        service.call(Note(1)).await.unwrap();
        drop(million);
        assert!(service.closed().await == million::framework::ExitReason::Killed);
    });
}

#[test]
fn dropped_by_one_of_its_own_handlers_it_neither_panics_nor_hangs() {
    struct Owner(Option<Million>);
    impl Service for Owner {}
    struct DropIt;
    impl Message for DropIt {
        type Reply = ();
    }
    impl Handler<DropIt> for Owner {
        async fn handle(cx: &Cx<Self>, _: DropIt) {
            let million = cx.state().0.take();
            drop(million);
        }
    }
    struct Adopt(Million);
    impl Message for Adopt {
        type Reply = ();
    }
    impl Handler<Adopt> for Owner {
        async fn handle(cx: &Cx<Self>, message: Adopt) {
            cx.state().0 = Some(message.0);
        }
    }
    let host = tokio::runtime::Runtime::new().unwrap();
    let million = million(2);
    let owner = million.spawn(Owner(None));
    host.block_on(async {
        owner.send(Adopt(million)).await.unwrap();
        let _ = owner.call(DropIt).await;
        owner.closed().await;
    });
}

struct Block;
impl Message for Block {
    type Reply = ();
}
impl Handler<Block> for Recorder {
    async fn handle(cx: &Cx<Self>, _: Block) {
        cx.handle().blocking_send(Note(1)).unwrap();
    }
}

#[test]
fn a_blocking_form_in_a_handler_panics_with_what_to_do() {
    let million = million(1);
    let service = million.spawn(Recorder::default());
    assert!(service.blocking_call(Block).is_err());
    let reason = run(&million, service.closed());
    assert!(
        reason.to_string().contains("await the async form"),
        "{reason}"
    );
}

struct BlockOn(Arc<Million>);
impl Message for BlockOn {
    type Reply = ();
}
impl Handler<BlockOn> for Recorder {
    async fn handle(cx: &Cx<Self>, message: BlockOn) {
        let me = cx.handle();
        let _ = message.0.block_on(async { me.call(Note(1)).await });
    }
}

#[test]
fn block_on_in_a_handler_panics_with_what_to_do() {
    let million = Arc::new(million(1));
    let service = million.spawn(Recorder::default());
    service.try_send(BlockOn(million.clone())).unwrap();
    let reason = run(&million, service.closed());
    assert!(
        reason.to_string().contains("await the async form"),
        "{reason}"
    );
}

#[test]
fn no_thread_is_left_behind() {
    // Other tests have threads of the usual name.
    for round in 0..30 {
        let million = Million::builder().name("tidy").workers(2).build().unwrap();
        let service = million.spawn(Recorder::default());
        service.blocking_call(Note(1)).unwrap();
        // A thread takes its name a moment after it was started: two workers and one for IO.
        let begun = std::time::Instant::now();
        while threads("tidy-") < 3 {
            assert!(begun.elapsed() < crate::support::LIMIT);
            std::thread::yield_now();
        }
        if round % 2 == 0 {
            million.blocking_shutdown(Duration::from_secs(5));
            until_no_threads("tidy-");
        }
    }
    until_no_threads("tidy-");
}
