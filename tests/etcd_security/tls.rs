//! Encrypted connections: they work, and when the two ends do not trust each other the error says which and where to look,
//! at once.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::FutureExt;
use million::etcd_service::{Endpoint, EtcdError, Get, Put, Watch, WatchKind};

use crate::certificates::{Authority, Files};
use crate::house::{DEADLINE, collector, etcd, million, refusal, until};
use crate::secure_etcd::SecureEtcd;
use crate::support::link::Way;
use crate::support::proxy::Proxy;
use crate::support::real_etcd::RealEtcd;

/// Far below the time-outs, for a refusal must not wait for one.
const SOON: Duration = Duration::from_secs(15);

const TIMEOUTS: &str = "connect_timeout: 60000, request_timeout: 60000";

fn settings(endpoint: &str, authority: &Path, identity: Option<&Files>) -> String {
    let mut tls = format!("insecure: false, ca_file: '{}'", authority.display());
    if let Some(files) = identity {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        tls += &format!(", cert_file: '{certificate}', key_file: '{key}'");
    }
    format!("endpoints: '{endpoint}', {TIMEOUTS}, tls: {{ {tls} }}")
}

/// Why no service starts with these settings, told before any time-out.
fn refused_at_once(inside: &str, parts: &[&str]) {
    let begun = Instant::now();
    let text = refusal(&million(), inside);
    assert!(begun.elapsed() < SOON, "{:?}: {text}", begun.elapsed());
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn with_certificates_on_both_sides_everything_works() {
    let authority = Authority::new("the authority");
    let server = authority.sign("server", &["localhost", "127.0.0.1"]);
    let client = authority.sign("client", &[]);
    let server = SecureEtcd::start(&server, Some(&authority.file()));
    for host in ["localhost", "127.0.0.1"] {
        let endpoint = format!("https://{host}:{}", server.address().port());
        let million = million();
        let etcd = million.spawn(etcd(&settings(&endpoint, &authority.file(), Some(&client))));
        million.block_on(async {
            let (subscriber, mut heard) = collector(&million);
            etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
            etcd.call(Watch::key("k").to(subscriber))
                .await
                .unwrap()
                .unwrap();
            heard
                .until(|event| event.kind == WatchKind::Synchronized {})
                .await;
            etcd.call(Put::new("k", "2")).await.unwrap().unwrap();
            heard.until(|event| event.value == b"2").await;
            let read = etcd.call(Get::key("k")).await.unwrap().unwrap().unwrap();
            assert_eq!(read.value, b"2");
        });
    }
}

/// A door before a server, with a name that begins with `https://`.
async fn door(server: &SecureEtcd) -> (Proxy, String) {
    let proxy = Proxy::start(server.address()).await;
    let endpoint = proxy.endpoint().replace("http://", "https://");
    (proxy, endpoint)
}

#[test]
fn a_write_whose_connection_breaks_is_sent_once_and_its_outcome_is_unknown() {
    let authority = Authority::new("the authority");
    let server = SecureEtcd::start(&authority.sign("server", &["127.0.0.1"]), None);
    let million = million();
    let direct = format!("https://{}", server.address());
    let outside = million.spawn(etcd(&settings(&direct, &authority.file(), None)));
    for (key, damage) in [
        (
            "cut",
            Box::new(|link: &Proxy| link.cut()) as Box<dyn Fn(&Proxy)>,
        ),
        (
            "garbled",
            Box::new(|link: &Proxy| link.garble(Way::ToClient)),
        ),
    ] {
        million.block_on(async {
            let (doors, endpoints): (Vec<_>, Vec<_>) = [door(&server).await, door(&server).await]
                .into_iter()
                .unzip();
            let etcd = million.spawn(etcd(&settings(
                &endpoints.join(","),
                &authority.file(),
                None,
            )));
            let in_use = etcd.call(Endpoint).await.unwrap().unwrap();
            let used = endpoints.iter().position(|one| *one == in_use).unwrap();
            doors[used].hold(Way::ToClient);
            let mut put = Box::pin(etcd.call(Put::new(key, "v")).timeout(DEADLINE));
            assert!(put.as_mut().now_or_never().is_none());
            until("the write is done", async || {
                outside
                    .call(Get::key(key))
                    .await
                    .unwrap()
                    .unwrap()
                    .is_some()
            })
            .await;
            damage(&doors[used]);
            let put = put.await.unwrap();
            assert!(
                matches!(put, Err(EtcdError::OutcomeUnknown { .. })),
                "{key}: {put:?}"
            );
            let pair = outside.call(Get::key(key)).await.unwrap().unwrap().unwrap();
            assert_eq!(pair.version, 1, "{key}");
        });
    }
}

#[test]
fn a_certificate_that_is_renewed_is_shown_by_the_next_connection() {
    let authority = Authority::new("the authority");
    let server = authority.sign("server", &["127.0.0.1"]);
    let server = SecureEtcd::start(&server, Some(&authority.file()));
    let client = authority.sign("client", &[]);
    let million = million();
    million.block_on(async {
        let (proxy, endpoint) = door(&server).await;
        let etcd = million.spawn(etcd(&settings(&endpoint, &authority.file(), Some(&client))));
        etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
        // The files have the same names.
        authority.sign_expired("client", &[]);
        proxy.cut();
        proxy.mend();
        // Reads, for a write may leave before the cut is noticed.
        let refused = etcd.call(Get::key("k")).await.unwrap().unwrap_err();
        assert!(matches!(refused, EtcdError::Tls { .. }), "{refused:?}");
        authority.sign("client", &[]);
        etcd.call(Put::new("k", "3")).await.unwrap().unwrap();
        // One that is being written is not shown, and the one before it is.
        std::fs::write(&client.key, "half of a key").unwrap();
        proxy.cut();
        proxy.mend();
        let read = etcd.call(Get::key("k")).await.unwrap().unwrap().unwrap();
        assert_eq!(read.value, b"3");
    });
}

#[test]
fn a_server_of_another_authority_is_refused_by_name() {
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let server = SecureEtcd::start(&one.sign("server", &["127.0.0.1"]), None);
    let endpoint = format!("https://{}", server.address());
    refused_at_once(
        &settings(&endpoint, &other.file(), None),
        &[&endpoint, "authority that is not in etcd.tls.ca_file"],
    );
}

#[test]
fn a_server_whose_certificate_has_expired_is_refused_by_name() {
    let authority = Authority::new("the authority");
    let server = SecureEtcd::start(&authority.sign_expired("server", &["127.0.0.1"]), None);
    let endpoint = format!("https://{}", server.address());
    refused_at_once(
        &settings(&endpoint, &authority.file(), None),
        &[&endpoint, "the server's certificate has expired"],
    );
}

#[test]
fn a_server_of_another_name_is_refused_by_name() {
    let authority = Authority::new("the authority");
    let server = SecureEtcd::start(&authority.sign("server", &["etcd.example"]), None);
    let endpoint = format!("https://localhost:{}", server.address().port());
    refused_at_once(
        &settings(&endpoint, &authority.file(), None),
        &[
            &endpoint,
            "does not name the host in etcd.endpoints",
            "etcd.example",
        ],
    );
}

#[test]
fn a_server_that_wants_a_certificate_of_the_client_says_so() {
    let authority = Authority::new("the authority");
    let server = authority.sign("server", &["127.0.0.1"]);
    let server = SecureEtcd::start(&server, Some(&authority.file()));
    let endpoint = format!("https://{}", server.address());
    refused_at_once(
        &settings(&endpoint, &authority.file(), None),
        &[
            &endpoint,
            "the server wants a certificate of this client",
            "etcd.tls.cert_file",
        ],
    );
}

#[test]
fn a_client_whose_certificate_is_not_good_is_told_so() {
    let (authority, other) = (Authority::new("the authority"), Authority::new("other"));
    let server = authority.sign("server", &["127.0.0.1"]);
    let server = SecureEtcd::start(&server, Some(&authority.file()));
    let endpoint = format!("https://{}", server.address());
    for client in [
        authority.sign_expired("client", &[]),
        other.sign("client", &[]),
    ] {
        refused_at_once(
            &settings(&endpoint, &authority.file(), Some(&client)),
            &[&endpoint, "etcd.tls.cert_file"],
        );
    }
}

#[test]
fn tls_to_a_server_without_it_is_told_so() {
    let authority = Authority::new("the authority");
    let server = RealEtcd::start();
    let endpoint = server.endpoint().replace("http://", "https://");
    refused_at_once(
        &settings(&endpoint, &authority.file(), None),
        &[&endpoint, "the server does not speak TLS"],
    );
}

#[test]
fn no_tls_to_a_server_that_wants_it_is_refused_at_once() {
    let authority = Authority::new("the authority");
    let server = SecureEtcd::start(&authority.sign("server", &["127.0.0.1"]), None);
    let endpoint = format!("http://{}", server.address());
    refused_at_once(
        &format!("endpoints: '{endpoint}', {TIMEOUTS}"),
        &[&endpoint, "https://", "etcd.tls"],
    );
}

#[test]
fn files_that_are_missing_or_hold_something_else_are_named() {
    let authority = Authority::new("the authority");
    let (one, other) = (authority.sign("one", &[]), authority.sign("other", &[]));
    let endpoint = "https://127.0.0.1:1";
    refused_at_once(
        &settings(endpoint, Path::new("/no/such/file.pem"), None),
        &["/no/such/file.pem", "No such file"],
    );
    refused_at_once(
        &settings(endpoint, &one.key, None),
        &["one.key", "no certificate in PEM form"],
    );
    let mixed = Files {
        certificate: one.certificate,
        key: other.key,
    };
    refused_at_once(
        &settings(endpoint, &authority.file(), Some(&mixed)),
        &[endpoint, "etcd.tls"],
    );
}
