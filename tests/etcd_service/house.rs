//! A server, a proxy before it, and a `Million` with the etcd service that reaches it through the proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use million::etcd_service::embedded::{self, EmbeddedEtcd};
use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Etcd, WatchEvent};
use million::framework::settings::Document;
use million::framework::{Cx, Handle, Handler, Million, Options, Recipient, Service};
use tokio::sync::mpsc;

use crate::support::proxy::Proxy;
use crate::support::real_etcd::{EtcdVersion, RealEtcd};

/// Far beyond what anything here takes on a busy machine: only a failure waits for so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Makes a test of each case for the embedded etcd and for a real one.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $case() { crate::house::House::embedded(super::$case); })*
        }
        mod real {
            $(#[test] fn $case() { crate::house::House::real(super::$case); })*
        }
    };
}

/// Makes a test of each case for a real etcd alone.
macro_rules! on_real {
    ($($case:ident),* $(,)?) => {
        mod real {
            $(#[test] fn $case() { crate::house::House::real(super::$case); })*
        }
    };
}

pub(crate) enum Server {
    Embedded(EmbeddedEtcd),
    Real(RealEtcd),
    /// Between one embedded etcd and the next.
    Gone(SocketAddr),
}

impl Server {
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Self::Embedded(server) => server.endpoint(),
            Self::Real(server) => server.endpoint(),
            Self::Gone(address) => format!("http://{address}"),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let endpoint = self.endpoint();
        endpoint.trim_start_matches("http://").parse().unwrap()
    }
}

pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) etcd: Handle<Etcd>,
    pub(crate) million: Million,
}

impl House {
    /// Runs a case with an embedded etcd.
    pub(crate) fn embedded<F: AsyncFnOnce(&mut House)>(case: F) {
        let million = Million::builder().workers(2).build().unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = million.block_on(embedded::start(listen)).unwrap();
        Self::run(million, Server::Embedded(server), case);
    }

    /// Runs a case with a real etcd.
    pub(crate) fn real<F: AsyncFnOnce(&mut House)>(case: F) {
        let million = Million::builder().workers(2).build().unwrap();
        Self::run(million, Server::Real(RealEtcd::start()), case);
    }

    /// Runs a case with a real etcd of that release.
    pub(crate) fn real_version<F: AsyncFnOnce(&mut House)>(version: EtcdVersion, case: F) {
        let million = Million::builder().workers(2).build().unwrap();
        let server = RealEtcd::start_version(version, &[]);
        Self::run(million, Server::Real(server), case);
    }

    fn run<F: AsyncFnOnce(&mut House)>(million: Million, server: Server, case: F) {
        let proxy = million.block_on(Proxy::start(server.address()));
        let etcd = million.spawn(Etcd::new(settings(&format!(
            "endpoints: '{}', request_timeout: 10000, heartbeat_check_interval_ms: 100",
            proxy.endpoint()
        ))));
        let mut house = Self {
            server,
            proxy,
            etcd,
            million,
        };
        let million = house.million.services();
        million.io_runtime().block_on(case(&mut house));
        let report = house.million.blocking_shutdown(DEADLINE);
        assert!(report.is_clean(), "{report:?}");
    }

    /// The real server, for cases that need one.
    pub(crate) fn real_server(&mut self) -> &mut RealEtcd {
        match &mut self.server {
            Server::Real(server) => server,
            Server::Embedded(_) | Server::Gone(_) => panic!("this case needs a real etcd"),
        }
    }

    /// Puts a server without any data in the place of the one that is there.
    pub(crate) async fn replace_data(&mut self) {
        let gone = Server::Gone(self.server.address());
        match std::mem::replace(&mut self.server, gone) {
            Server::Real(mut server) => {
                server.restart_empty();
                self.server = Server::Real(server);
            }
            Server::Embedded(server) => {
                server.stop().await;
                let other = embedded::start(self.server.address()).await.unwrap();
                self.server = Server::Embedded(other);
            }
            Server::Gone(_) => panic!("there is a server"),
        }
    }

    /// Another etcd service of the same server, which does not go through the proxy.
    pub(crate) fn neighbour(&self) -> Handle<Etcd> {
        let endpoint = self.server.endpoint();
        let settings = settings(&format!("endpoints: '{endpoint}', request_timeout: 10000"));
        self.million.spawn(Etcd::new(settings))
    }

    /// A client of the server that knows neither proxy nor service.
    pub(crate) async fn outside(&self) -> etcd_client::Client {
        etcd_client::Client::connect([self.server.endpoint()], None)
            .await
            .unwrap()
    }

    /// A subscriber of watches that takes everything at once.
    pub(crate) fn collector(&self) -> (Recipient<WatchEvent>, Heard<WatchEvent>) {
        let (sender, heard) = mpsc::unbounded_channel();
        let options = Options::new().max_in_flight(1);
        let collector = self.million.spawn_with(options, Collector(sender));
        (collector.recipient(), Heard(heard))
    }
}

/// Settings of the section `etcd`, made of the inside of its braces.
pub(crate) fn settings(inside: &str) -> EtcdSettings {
    let document = Document::parse(format!("etcd: {{ {inside} }}"), "a test").unwrap();
    EtcdSettings::from_document(&document).unwrap()
}

struct Collector(mpsc::UnboundedSender<WatchEvent>);
impl Service for Collector {}
impl Handler<WatchEvent> for Collector {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        // A test that has ended wants no more.
        let _ = cx.state().0.send(event);
    }
}

/// What a service of the test was told.
pub(crate) struct Heard<T>(pub(crate) mpsc::UnboundedReceiver<T>);

impl<T> Heard<T> {
    /// The next, waited for.
    pub(crate) async fn next(&mut self) -> T {
        let next = tokio::time::timeout(DEADLINE, self.0.recv()).await;
        next.expect("something is told in time")
            .expect("its service lives")
    }

    /// Whatever has come that was not waited for.
    pub(crate) fn rest(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Waits until a condition holds, looking again and again.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for: {what}");
}

/// Runs `etcdctl`.
pub(crate) fn etcdctl(endpoint: &str, arguments: &[&str]) {
    let mut command = crate::support::etcdctl::etcdctl(endpoint);
    let output = command.args(arguments).output();
    let output = output.expect("etcdctl can be started");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}
