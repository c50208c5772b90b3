//! Tokens that end: simple ones, which end when they lie unused or their server restarts, and signed ones, which end when
//! their time is up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures::future::join_all;
use million::etcd_service::{Etcd, Get, Grant, KeepAlive, Put, Register, Status, Watch, WatchKind};
use million::framework::Handle;
use rcgen::KeyPair;
use tempfile::TempDir;

use crate::auth::{ROOT, as_app, guarded};
use crate::house::{collector, etcdctl, million, until};
use crate::support::real_etcd::{EtcdVersion, RealEtcd};

on_each_release!(
    every_operation_outlives_its_token,
    many_requests_whose_token_has_ended_log_in_once,
    a_registration_outlives_the_tokens_of_a_server_that_restarts,
    signed_tokens_are_renewed_while_they_are_in_use,
    a_watch_begun_when_the_token_of_the_stream_has_ended_is_let,
    a_signed_token_from_before_roles_changed_is_renewed,
);

/// The time that a token of these tests lives, in seconds: the shortest there is.
const TOKEN_SECONDS: &str = "1";

/// Lies still until a token of that time has ended: time itself is what these tests inject.
async fn let_tokens_end(server: &RealEtcd) {
    let options = etcd_client::ConnectOptions::new().with_user("app", "app-secret");
    let mut outside = etcd_client::Client::connect([server.endpoint()], Some(options))
        .await
        .unwrap();
    // One look at a simple token makes it live on, so looks come seldom.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let refused = outside.get("app/k", None).await.unwrap_err().to_string();
    assert!(refused.contains("invalid auth token"), "{refused}");
}

/// How many logins a server has seen.
fn logins(server: &RealEtcd) -> u64 {
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nHost: etcd\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("grpc_server_started_total{grpc_method=\"Authenticate\""))
        .unwrap_or_else(|| panic!("no logins in:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn every_operation_outlives_its_token(version: EtcdVersion) {
    let (server, million) = (
        guarded(version, &["--auth-token-ttl", TOKEN_SECONDS]),
        million(),
    );
    let app = as_app(&million, &server);
    million.block_on(async {
        let (subscriber, mut heard) = collector(&million);
        app.call(Watch::prefix("app/").to(subscriber))
            .await
            .unwrap()
            .unwrap();
        heard
            .until(|event| event.kind == WatchKind::Synchronized)
            .await;
        let ttl = Duration::from_secs(60);
        let lease = app.call(Grant { ttl }).await.unwrap().unwrap();

        let_tokens_end(&server).await;
        app.call(Put::new("app/k", "1")).await.unwrap().unwrap();
        let_tokens_end(&server).await;
        let read = app.call(Get::key("app/k")).await.unwrap().unwrap().unwrap();
        assert_eq!(read.value, b"1");
        let_tokens_end(&server).await;
        app.call(KeepAlive(lease.id)).await.unwrap().unwrap();
        let_tokens_end(&server).await;
        app.call(Grant { ttl }).await.unwrap().unwrap();
        // The watch has heard it all.
        app.call(Put::new("app/k", "2")).await.unwrap().unwrap();
        let values: Vec<_> = heard
            .until(|event| event.value == b"2")
            .await
            .into_iter()
            .map(|event| event.value)
            .collect();
        assert_eq!(values, [b"1", b"2"]);
    });
}

fn many_requests_whose_token_has_ended_log_in_once(version: EtcdVersion) {
    let (server, million) = (
        guarded(version, &["--auth-token-ttl", TOKEN_SECONDS]),
        million(),
    );
    let app = as_app(&million, &server);
    million.block_on(async {
        app.call(Put::new("app/k", "v")).await.unwrap().unwrap();
        let_tokens_end(&server).await;
        let (before, begun) = (logins(&server), Instant::now());
        for read in join_all((0..200).map(|_| app.call(Get::key("app/k")))).await {
            assert_eq!(read.unwrap().unwrap().unwrap().value, b"v");
        }
        // On a busy machine the new token may end as well before all are answered.
        let ended_meanwhile = begun.elapsed().as_secs();
        let logins = logins(&server) - before;
        assert!((1..=1 + ended_meanwhile).contains(&logins), "{logins}");
    });
}

fn a_registration_outlives_the_tokens_of_a_server_that_restarts(version: EtcdVersion) {
    let (mut server, million) = (guarded(version, &[]), million());
    let app = as_app(&million, &server);
    million.block_on(async {
        let register = Register::new("app/node", "here", Duration::from_secs(3));
        let _registration = app.call(register).await.unwrap().unwrap();
        for _ in 0..2 {
            server.restart();
            // Longer than the lease would live if nobody kept it alive.
            tokio::time::sleep(Duration::from_secs(5)).await;
            until("the key is there", async || {
                app.call(Get::key("app/node"))
                    .await
                    .unwrap()
                    .unwrap()
                    .is_some()
            })
            .await;
        }
    });
}

/// Uses tokens, which end all the same, until two have.
async fn let_signed_tokens_end(app: &Handle<Etcd>, server: &RealEtcd) {
    let before = logins(server);
    until("the token has been renewed twice", async || {
        let read = app.call(Get::key("app/k")).await.unwrap();
        assert_eq!(read.unwrap().unwrap().value, b"v");
        logins(server) >= before + 2
    })
    .await;
}

fn signed_tokens_are_renewed_while_they_are_in_use(version: EtcdVersion) {
    let keys = SigningKeys::new();
    let token = keys.token("2s");
    let (server, million) = (guarded(version, &["--auth-token", &token]), million());
    let app = as_app(&million, &server);
    million.block_on(async {
        app.call(Put::new("app/k", "v")).await.unwrap().unwrap();
        let_signed_tokens_end(&app, &server).await;
    });
}

/// 3.5.1 says of such a watch that its user may not read.
fn a_watch_begun_when_the_token_of_the_stream_has_ended_is_let(version: EtcdVersion) {
    let keys = SigningKeys::new();
    let token = keys.token("2s");
    let (server, million) = (guarded(version, &["--auth-token", &token]), million());
    let app = as_app(&million, &server);
    million.block_on(async {
        app.call(Put::new("app/k", "v")).await.unwrap().unwrap();
        let (subscriber, mut early) = collector(&million);
        let watch = Watch::prefix("app/").to(subscriber);
        app.call(watch).await.unwrap().unwrap();
        early
            .until(|event| event.kind == WatchKind::Synchronized)
            .await;
        for round in 0..2 {
            let_signed_tokens_end(&app, &server).await;
            let (subscriber, mut late) = collector(&million);
            let watch = Watch::key("app/late").from_revision(1).to(subscriber);
            app.call(watch).await.unwrap().unwrap();
            let value = round.to_string();
            let put = Put::new("app/late", value.as_str());
            app.call(put).await.unwrap().unwrap();
            for heard in [&mut early, &mut late] {
                let told = heard
                    .until(|event| {
                        event.kind == WatchKind::Refused || event.value == value.as_bytes()
                    })
                    .await;
                let refused = told.iter().find(|event| event.kind == WatchKind::Refused);
                assert_eq!(refused, None);
            }
        }
    });
}

fn a_signed_token_from_before_roles_changed_is_renewed(version: EtcdVersion) {
    let keys = SigningKeys::new();
    let token = keys.token("10m");
    let (server, million) = (guarded(version, &["--auth-token", &token]), million());
    let endpoint = server.endpoint();
    let app = as_app(&million, &server);
    million.block_on(async {
        let (subscriber, mut heard) = collector(&million);
        app.call(Watch::prefix("app/").to(subscriber))
            .await
            .unwrap()
            .unwrap();
        heard
            .until(|event| event.kind == WatchKind::Synchronized)
            .await;
        for round in 0..2 {
            let value = round.to_string();
            etcdctl(&endpoint, ROOT, &["role", "add", &format!("other{round}")]);
            app.call(Put::new("app/k", value.as_str()))
                .await
                .unwrap()
                .unwrap();
            etcdctl(
                &endpoint,
                ROOT,
                &["user", "add", &format!("user{round}:secret")],
            );
            let read = app.call(Get::key("app/k")).await.unwrap().unwrap().unwrap();
            assert_eq!(read.value, value.as_bytes());
            heard.until(|event| event.value == value.as_bytes()).await;
        }
        let status = app.call(Status).await.unwrap();
        assert!(status.is_ok(), "{status:?}");
    });
}

/// What tokens are signed with. Removed with this.
struct SigningKeys(TempDir);

impl SigningKeys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("public"), key.public_key_pem()).unwrap();
        std::fs::write(folder.path().join("private"), key.serialize_pem()).unwrap();
        Self(folder)
    }

    /// The argument for tokens that live so long.
    fn token(&self, ttl: &str) -> String {
        format!(
            "jwt,pub-key={},priv-key={},sign-method=ES256,ttl={ttl}",
            self.0.path().join("public").display(),
            self.0.path().join("private").display()
        )
    }
}
