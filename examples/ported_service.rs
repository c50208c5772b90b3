//! Teaches what a service of the C++ million framework becomes here: its etcd test service, whole. `docs/porting.md` walks
//! through it.
//!
//! `cargo run --example ported_service` brings its own etcd; `-- FILE` takes the settings, and so the etcd, from a file. It
//! ends with 1 at the first result that is not as it should be.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

#[path = "ported_service/failure.rs"]
mod failure;
#[path = "ported_service/steps.rs"]
mod steps;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{
    ConfigChangeEvent, Delete, Etcd, Node, NodeDown, NodeUp, RegistrationEvent, Synchronized,
    WatchEvent,
};
use million::framework::settings::Settings;
use million::framework::{Cx, Handle, Handler, Message, Million, Service, StartError};
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use failure::Failure;
use steps::Trial;

/// How many events may wait for the step that looks for them. Past this the handlers wait, then the mailbox, then etcd.
const HEARD: usize = 16;

/// The service's own section of the settings file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestSettings {
    root: String,
    name: String,
    address: String,
    port: u16,
    patience_ms: u64,
}

/// Tries every message that the C++ etcd module has, and says what came of it.
struct EtcdTest {
    settings: TestSettings,
    etcd: Handle<Etcd>,
    hear: mpsc::Sender<Heard>,
    /// Held by a step from beginning to end, across its awaits, so steps run one after the other: this is what the C++
    /// service took a `ServiceLock` for.
    heard: Arc<Mutex<mpsc::Receiver<Heard>>>,
}

/// What came to the service while a step was waiting for it.
enum Heard {
    Watch(WatchEvent),
    Config(ConfigChangeEvent),
    Up(Node),
    Down(Node),
    Synchronized,
}

impl EtcdTest {
    fn new(settings: TestSettings, etcd: Handle<Etcd>) -> Self {
        let (hear, heard) = mpsc::channel(HEARD);
        Self {
            settings,
            etcd,
            hear,
            heard: Arc::new(Mutex::new(heard)),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.settings.root)
    }
}

impl Service for EtcdTest {
    /// Begins with nothing under its root, whatever an earlier run has left.
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        Ok(clear(cx).await?)
    }

    /// Leaves nothing there.
    async fn on_stop(cx: &Cx<Self>) {
        if let Err(error) = clear(cx).await {
            tracing::warn!(%error, "the keys of the test stay");
        }
    }
}

async fn clear(cx: &Cx<EtcdTest>) -> Result<(), Failure> {
    let (etcd, root) = cx.with(|test| (test.etcd.clone(), test.key("")));
    let deleted = etcd.call(Delete::prefix(root)).await??;
    tracing::info!(deleted.count, "nothing is left under the root");
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Keys,
    Watch,
    Leases,
    Configuration,
    Registry,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Keys,
        Self::Watch,
        Self::Leases,
        Self::Configuration,
        Self::Registry,
    ];
}

/// Goes one step.
struct Try(Step);

impl Message for Try {
    /// What was done and what came of it, a line each.
    type Reply = Result<Vec<String>, Failure>;
}

impl Handler<Try> for EtcdTest {
    async fn handle(cx: &Cx<Self>, Try(step): Try) -> Result<Vec<String>, Failure> {
        let (heard, patience) = cx.with(|test| {
            let patience = Duration::from_millis(test.settings.patience_ms);
            (Arc::clone(&test.heard), patience)
        });
        // While this handler waits, those of the events below run: the state is theirs, the lock is this step's.
        let mut heard = heard.lock().await;
        let mut trial = Trial::new(cx, &mut heard, patience);
        match step {
            Step::Keys => trial.keys().await,
            Step::Watch => trial.watch().await,
            Step::Leases => trial.leases().await,
            Step::Configuration => trial.configuration().await,
            Step::Registry => trial.registry().await,
        }?;
        Ok(trial.into_lines())
    }
}

impl Handler<WatchEvent> for EtcdTest {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        hear(cx, Heard::Watch(event)).await;
    }
}

impl Handler<ConfigChangeEvent> for EtcdTest {
    async fn handle(cx: &Cx<Self>, change: ConfigChangeEvent) {
        hear(cx, Heard::Config(change)).await;
    }
}

impl Handler<NodeUp> for EtcdTest {
    async fn handle(cx: &Cx<Self>, NodeUp(node): NodeUp) {
        hear(cx, Heard::Up(node)).await;
    }
}

impl Handler<NodeDown> for EtcdTest {
    async fn handle(cx: &Cx<Self>, NodeDown(node): NodeDown) {
        hear(cx, Heard::Down(node)).await;
    }
}

impl Handler<RegistrationEvent> for EtcdTest {
    /// What a lost heartbeat was there. The registration is mended without anyone's help.
    async fn handle(_: &Cx<Self>, event: RegistrationEvent) {
        tracing::warn!(event.key, ?event.change, "the registration");
    }
}

impl Handler<Synchronized> for EtcdTest {
    async fn handle(cx: &Cx<Self>, _: Synchronized) {
        hear(cx, Heard::Synchronized).await;
    }
}

async fn hear(cx: &Cx<EtcdTest>, what: Heard) {
    let hear = cx.state().hear.clone();
    // The other end is in the state, so it is there.
    let _ = hear.send(what).await;
}

fn run() -> Result<(), Box<dyn Error>> {
    let settings = match std::env::args().nth(1) {
        Some(file) => Settings::load(file)?,
        None => Settings::parse(
            include_str!("ported_service.yaml"),
            "examples/ported_service.yaml",
        )?,
    };
    let own: TestSettings = settings
        .section("etcd_test")?
        .ok_or("the settings have no section `etcd_test`")?;
    let _log = million::services::logging::init(settings.logger())?;

    let million = Million::builder().settings(&settings).build()?;
    let etcd = EtcdSettings::from_document(settings.document())?;
    let etcd = million.spawn(Etcd::new(etcd));
    let test = million.spawn(EtcdTest::new(own, etcd));
    million.register("etcd_test", &test)?;

    for step in Step::ALL {
        println!("{step:?}");
        for line in test.blocking_call(Try(step))?? {
            println!("  {line}");
        }
    }
    let report = million.blocking_shutdown(Duration::from_secs(5));
    if !report.is_clean() {
        return Err(format!("it did not end in order: {report:?}").into());
    }
    println!("ended in order, {} services", report.stopped);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
