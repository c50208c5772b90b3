//! A watcher that is 100,000 events behind uses bounded memory, counted by the allocator, and catches up in order.
//!
//! A binary of its own, for what other tests allocate would count too.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by nature; this one only counts"
)]
#![allow(clippy::disallowed_methods, reason = "tests measure real time")]
#![allow(clippy::print_stdout, reason = "tests print the figures they measure")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Etcd, Watch, WatchEvent, WatchKind, Watches};
use million::framework::settings::Document;
use million::framework::{Cx, Handle, Handler, Million, Options, Service};
use tokio::sync::Semaphore;

#[path = "support/mod.rs"]
mod support;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How much more than at `base` was in use at most since the last call.
fn peak_over(base: usize) -> usize {
    let peak = PEAK.swap(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    peak.saturating_sub(base)
}

const EVENTS: i64 = 100_000;
const IN_ONE_REVISION: i64 = 20;
const KEYS: i64 = 1000;
const VALUE_BYTES: usize = 1024;

/// Far above what is needed and far below the hundred megabytes that are behind. etcd may send a thousand revisions in one response, not
/// cut into fragments, when it finds them before it has told that the watch is made: 20 MiB here, which are there twice while they are
/// decoded.
const BOUND: usize = 64 * 1024 * 1024;

const DEADLINE: Duration = Duration::from_secs(300);

/// Takes one event for each permit, and remembers only how many there were.
struct Behind {
    permits: Arc<Semaphore>,
    told: Arc<AtomicI64>,
    synchronized: Arc<Semaphore>,
}
impl Service for Behind {}
impl Handler<WatchEvent> for Behind {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        if event.kind == WatchKind::Synchronized {
            cx.state().synchronized.add_permits(1);
            return;
        }
        let permits = Arc::clone(&cx.state().permits);
        permits
            .acquire()
            .await
            .expect("it is never closed")
            .forget();
        let number: i64 = std::str::from_utf8(&event.value[..10])
            .unwrap()
            .parse()
            .unwrap();
        let expected = cx.state().told.fetch_add(1, Ordering::Relaxed);
        assert_eq!(number, expected, "in order, once, complete");
    }
}

async fn put_all(endpoint: &str, from: i64, events: i64) {
    let mut client = etcd_client::Client::connect([endpoint], None)
        .await
        .unwrap();
    for first in (from..from + events).step_by(IN_ONE_REVISION as usize) {
        let puts: Vec<_> = (first..first + IN_ONE_REVISION)
            .map(|number| {
                let mut value = format!("{number:010}").into_bytes();
                value.resize(VALUE_BYTES, b'x');
                etcd_client::TxnOp::put(format!("p/{}", number % KEYS), value, None)
            })
            .collect();
        client
            .txn(etcd_client::Txn::new().and_then(puts))
            .await
            .unwrap();
    }
}

async fn until_told(behind: &Handle<Behind>, told: &AtomicI64, count: i64) {
    let begun = Instant::now();
    while told.load(Ordering::Relaxed) < count {
        let now = told.load(Ordering::Relaxed);
        assert!(begun.elapsed() < DEADLINE, "{now} of {count} were told");
        assert!(!behind.is_closed(), "it has ended, after {now} of {count}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_watcher_100_000_events_behind_catches_up_in_order_in_bounded_memory() {
    let server = support::real_etcd::RealEtcd::start();
    let text = format!("etcd: {{ endpoints: '{}' }}", server.endpoint());
    let document = Document::parse(text, "a test").unwrap();
    let settings = EtcdSettings::from_document(&document).unwrap();
    let million = Million::builder().workers(2).build().unwrap();
    let etcd = million.spawn(Etcd::new(settings));
    let (permits, told) = (Arc::new(Semaphore::new(0)), Arc::<AtomicI64>::default());
    let synchronized = Arc::new(Semaphore::new(0));
    let behind = Behind {
        permits: Arc::clone(&permits),
        told: Arc::clone(&told),
        synchronized: Arc::clone(&synchronized),
    };
    let behind = million.spawn_with(Options::new().mailbox(64).max_in_flight(1), behind);
    let endpoint = server.endpoint();
    million.block_on(async {
        let watch = Watch::prefix("p/").to(behind.recipient());
        etcd.call(watch).await.unwrap().unwrap();
        // A snapshot would tell keys in their own order.
        let synchronized = tokio::time::timeout(DEADLINE, synchronized.acquire()).await;
        synchronized.unwrap().unwrap().forget();
        // So that all that is made once has been made, and each key is known.
        put_all(&endpoint, 0, KEYS).await;
        permits.add_permits(KEYS as usize);
        until_told(&behind, &told, KEYS).await;

        let base = LIVE.load(Ordering::Relaxed);
        peak_over(base);
        put_all(&endpoint, KEYS, EVENTS).await;
        let status = etcd.call(Watches).await.unwrap().unwrap().remove(0);
        let writing = peak_over(base);
        assert_eq!(told.load(Ordering::Relaxed), KEYS);

        let begun = Instant::now();
        permits.add_permits(EVENTS as usize);
        until_told(&behind, &told, KEYS + EVENTS).await;
        let took = begun.elapsed();
        let catching_up = peak_over(base);
        println!(
            "{EVENTS} events of {VALUE_BYTES} bytes behind ({} revisions, {} events buffered): told in order, once, in {took:.1?}; heap \
             at most {:.1} MiB more while falling behind, {:.1} MiB while catching up",
            EVENTS / IN_ONE_REVISION,
            status.buffered,
            writing as f64 / 1048576.0,
            catching_up as f64 / 1048576.0,
        );
        assert!(status.overflowed > 0, "{status:?}");
        assert!(writing < BOUND && catching_up < BOUND);

        // And it is up to date again.
        permits.add_permits(IN_ONE_REVISION as usize);
        put_all(&endpoint, KEYS + EVENTS, IN_ONE_REVISION).await;
        until_told(&behind, &told, KEYS + EVENTS + IN_ONE_REVISION).await;
    });
    let report = million.blocking_shutdown(Duration::from_secs(30));
    assert!(report.is_clean(), "{report:?}");
}
