//! Services with a thread of their own: they may block, and are like any other in all else.

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use million::framework::{
    CallError, Cx, ExitReason, Handle, Handler, Message, Million, Options, Recipient, Service,
};
use tokio::sync::Semaphore;

use crate::support::{Begun, Done, LIMIT, Note, Pass, Recorder, gate, million, run};

fn dedicated() -> Options {
    Options::new().dedicated_thread()
}

struct Archive(Handle<Recorder>);

impl Service for Archive {
    fn options(&self) -> Options {
        dedicated()
    }
}

/// Says that it has begun, then blocks its thread until it is told to go on.
struct Block(Arc<Semaphore>, mpsc::Receiver<()>);
impl Message for Block {
    type Reply = Option<String>;
}
impl Handler<Block> for Archive {
    async fn handle(_: &Cx<Self>, message: Block) -> Option<String> {
        message.0.add_permits(1);
        let _ = message.1.recv_timeout(LIMIT);
        thread::current().name().map(str::to_owned)
    }
}

#[test]
fn while_it_blocks_others_go_on_even_on_one_worker() {
    let million = Million::builder().name("lone").workers(1).build().unwrap();
    let other = million.spawn(Recorder::default());
    let archives = [(); 3].map(|()| million.spawn(Archive(other.clone())));
    let begun = gate();
    run(&million, async {
        let mut gates = Vec::new();
        for archive in &archives {
            let (go, wait) = mpsc::channel();
            archive.send(Block(begun.clone(), wait)).await.unwrap();
            gates.push(go);
        }
        begun.acquire_many(3).await.unwrap().forget();
        // All three block at this moment.
        for number in 0..100 {
            other.call(Note(number)).await.unwrap();
        }
        gates.clear();
        let (go, wait) = mpsc::channel();
        drop(go);
        let name = archives[0].call(Block(begun.clone(), wait)).await.unwrap();
        assert_eq!(name.as_deref(), Some("lone-Archive"));
    });
    let report = million.blocking_shutdown(LIMIT);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.stopped, 4);
}

struct Ask;
impl Message for Ask {
    type Reply = Vec<u32>;
}
impl Handler<Ask> for Archive {
    async fn handle(cx: &Cx<Self>, _: Ask) -> Vec<u32> {
        let other = cx.state().0.clone();
        other.blocking_send(Note(1)).unwrap();
        other.recipient().blocking_send(Note(2)).unwrap();
        other.recipient().blocking_call(Note(3)).unwrap();
        other.blocking_call(Done).unwrap()
    }
}

#[test]
fn its_handlers_may_use_the_blocking_forms_towards_others() {
    let million = million(1);
    let other = million.spawn(Recorder::default());
    let archive = million.spawn(Archive(other));
    assert_eq!(archive.blocking_call(Ask), Ok(vec![1, 2, 3]));
}

/// Which blocking form is to be used towards the service itself.
#[derive(Clone, Copy)]
enum OnItself {
    Send,
    Call,
    SendToRecipient,
    CallRecipient,
}
impl Message for OnItself {
    type Reply = ();
}
impl Handler<OnItself> for Archive {
    async fn handle(cx: &Cx<Self>, message: OnItself) {
        let me = cx.handle();
        let recipient: Recipient<Ask> = me.recipient();
        match message {
            OnItself::Send => drop(me.blocking_send(Ask)),
            OnItself::Call => drop(me.blocking_call(Ask)),
            OnItself::SendToRecipient => drop(recipient.blocking_send(Ask)),
            OnItself::CallRecipient => drop(recipient.blocking_call(Ask)),
        }
    }
}

#[test]
fn a_blocking_form_towards_itself_panics_instead_of_hanging() {
    use OnItself::{Call, CallRecipient, Send, SendToRecipient};
    let million = million(1);
    let other = million.spawn(Recorder::default());
    for form in [Send, Call, SendToRecipient, CallRecipient] {
        let archive = million.spawn(Archive(other.clone()));
        assert_eq!(archive.blocking_call(form), Err(CallError::Panicked));
        let reason = run(&million, archive.closed()).to_string();
        assert!(reason.contains("to itself"), "{reason}");
    }
}

#[test]
fn it_interleaves_at_awaits_and_starts_messages_in_order() {
    let million = million(1);
    let service = million.spawn_with(dedicated(), Recorder::default());
    let gate = gate();
    run(&million, async {
        for number in 0..100 {
            let gate = gate.clone();
            service.send(Pass { number, gate }).await.unwrap();
        }
        service.call(Note(1000)).await.unwrap();
        let begun = service.call(Begun).await.unwrap();
        assert_eq!(begun, (0..100).collect::<Vec<_>>());
        assert_eq!(service.call(Done).await, Ok(vec![1000]));
        gate.add_permits(100);
        // Resumed by a thread that is not its own.
        while service.call(Done).await.unwrap().len() < 101 {
            tokio::task::yield_now().await;
        }
    });
}

struct Everything;
impl Message for Everything {
    type Reply = (bool, bool);
}
impl Handler<Everything> for Recorder {
    async fn handle(cx: &Cx<Self>, _: Everything) -> (bool, bool) {
        let here = thread::current().id();
        cx.sleep(Duration::from_millis(1)).await;
        let after_sleep = thread::current().id() == here;
        let there = cx.io(async { thread::current().id() }).await.unwrap();
        cx.send_after(Duration::from_millis(1), Note(7));
        (after_sleep, there != here && thread::current().id() == here)
    }
}

#[test]
fn however_it_is_called_it_runs_on_its_own_thread() {
    struct Where;
    impl Message for Where {
        type Reply = thread::ThreadId;
    }
    impl Handler<Where> for Recorder {
        async fn handle(_: &Cx<Self>, _: Where) -> thread::ThreadId {
            thread::current().id()
        }
    }
    struct Caller(Handle<Recorder>);
    impl Service for Caller {}
    struct CallOften;
    impl Message for CallOften {
        type Reply = bool;
    }
    impl Handler<CallOften> for Caller {
        async fn handle(cx: &Cx<Self>, _: CallOften) -> bool {
            let callee = cx.state().0.clone();
            let first = callee.call(Where).await.unwrap();
            // So often that it is known to be quick; then also while it rests. One on the pool would be run by its caller.
            for number in 0..12_000 {
                if number % 12 == 0 {
                    cx.io(tokio::task::yield_now()).await.unwrap();
                }
                if callee.call(Where).await != Ok(first) {
                    return false;
                }
            }
            first != thread::current().id()
        }
    }
    let million = million(1);
    let alone = million.spawn_with(dedicated(), Recorder::default());
    // From the pool, from another thread of its own, from outside.
    let shared = million.spawn(Caller(alone.clone()));
    assert_eq!(shared.blocking_call(CallOften), Ok(true));
    let other = million.spawn_with(dedicated(), Caller(alone.clone()));
    assert_eq!(other.blocking_call(CallOften), Ok(true));
    assert_ne!(alone.blocking_call(Where), Ok(thread::current().id()));
}

#[test]
fn timers_and_io_come_back_to_its_own_thread() {
    let million = million(2);
    let service = million.spawn_with(dedicated(), Recorder::default());
    assert_eq!(service.blocking_call(Everything), Ok((true, true)));
    run(&million, async {
        while service.call(Done).await.unwrap() != [7] {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn it_is_resumed_by_services_on_the_pool() {
    struct Opens(Arc<Semaphore>);
    impl Service for Opens {}
    impl Handler<Note> for Opens {
        async fn handle(cx: &Cx<Self>, _: Note) {
            cx.state().0.add_permits(1);
        }
    }
    let million = million(1);
    let gate = gate();
    let opens = million.spawn(Opens(gate.clone()));
    let service = million.spawn_with(dedicated(), Recorder::default());
    run(&million, async {
        for number in 0..1000 {
            let gate = gate.clone();
            let passes = service.call(Pass { number, gate });
            let opened = opens.call(Note(0));
            let (passed, opened) = futures::join!(passes, opened);
            assert_eq!(passed, Ok(number));
            opened.unwrap();
        }
    });
}

#[test]
fn one_that_blocks_beyond_the_deadline_is_named() {
    let million = million(1);
    let other = million.spawn(Recorder::default());
    let archive = million.spawn(Archive(other));
    let (begun, (go, wait)) = (gate(), mpsc::channel());
    run(&million, async {
        archive.send(Block(begun.clone(), wait)).await.unwrap();
        begun.acquire().await.unwrap().forget();
    });
    let started = Instant::now();
    let report = million.blocking_shutdown(Duration::from_millis(50));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(report.stuck.len(), 1);
    assert!(report.stuck[0].contains("Archive"), "{report:?}");
    drop(go);
    let reason = futures::executor::block_on(archive.closed());
    assert_eq!(reason, ExitReason::Killed);
}

#[test]
fn in_the_deterministic_mode_it_is_like_any_other() {
    Million::explore(0..50, async |million| {
        let service = million.spawn_with(dedicated(), Recorder::default());
        for number in 0..10 {
            service.call(Note(number)).await.unwrap();
        }
        assert_eq!(service.call(Done).await, Ok((0..10).collect::<Vec<_>>()));
    });
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_watchdog_is_silent_about_it() {
    struct Shared;
    impl Service for Shared {}
    impl Handler<Block> for Shared {
        async fn handle(_: &Cx<Self>, message: Block) -> Option<String> {
            message.0.add_permits(1);
            let _ = message.1.recv_timeout(LIMIT);
            None
        }
    }
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .finish();
    // The patrol runs where the IO does: here on this very thread, of which the subscriber hears.
    let host = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tracing::subscriber::with_default(subscriber, || {
        host.block_on(async {
            let million = Million::builder()
                .workers(1)
                .io_runtime(host.handle().clone())
                .blocking_limit(Duration::from_millis(20))
                .build()
                .unwrap();
            let other = million.spawn(Recorder::default());
            let archive = million.spawn(Archive(other));
            let shared = million.spawn(Shared);
            let (begun, both) = (gate(), [mpsc::channel(), mpsc::channel()]);
            let [(go_archive, wait), (go_shared, wait_shared)] = both;
            archive.send(Block(begun.clone(), wait)).await.unwrap();
            begun.acquire().await.unwrap().forget();
            // It has blocked for longer than the other when the other is reported.
            shared
                .send(Block(begun.clone(), wait_shared))
                .await
                .unwrap();
            let report = async {
                while !log.text().contains("Shared") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(LIMIT, report)
                .await
                .expect("the watchdog sees a worker that is blocked");
            assert!(!log.text().contains("Archive"), "{}", log.text());
            drop((go_archive, go_shared));
            assert!(million.shutdown(LIMIT).await.is_clean());
        });
    });
}
