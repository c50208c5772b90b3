//! Passwords and tokens get into no log line, however much is logged, and into no error.

use std::io::Write;
use std::sync::{Arc, Mutex};

use million::etcd_service::{Get, Put};
use tracing_subscriber::fmt::MakeWriter;

use crate::auth::guarded;
use crate::house::{etcd, million, refusal};
use crate::scripted::Scripted;
use crate::support::real_etcd::EtcdVersion;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn no_password_or_token_is_logged_at_any_level() {
    let log = Log::default();
    // For all threads of this process, those of the IO runtime among them; other tests may be heard too.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .init();
    let (mut server, million) = (guarded(EtcdVersion::V3_4, &[]), million());
    // Between them, for it sees what etcd does: the tokens.
    let between = million.block_on(Scripted::start(&server.endpoint()));
    let endpoint = between.endpoint();
    let settings = |password: &str| {
        format!(
            "endpoints: '{}', auth: {{ username: app, password: {password} }}, request_timeout: 20000",
            endpoint
        )
    };
    let refused = refusal(&million, &settings("hunter-two"));
    let service = etcd(&settings("app-secret"));
    let shown = format!("{service:?}");
    let app = million.spawn(service);
    million.block_on(async {
        app.call(Put::new("app/k", "v")).await.unwrap().unwrap();
        server.restart();
        app.call(Get::key("app/k")).await.unwrap().unwrap();
    });
    assert!(million.blocking_shutdown(crate::house::DEADLINE).is_clean());
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("connected to etcd"),
        "it is the log of these services"
    );
    assert!(log.contains("TRACE"), "and all of it");
    let tokens = between.tokens();
    assert!(!tokens.is_empty(), "requests have shown one");
    let passwords = ["hunter-two", "app-secret"].map(String::from);
    for secret in passwords.iter().chain(&tokens) {
        for text in [&log, &refused, &shown] {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None);
        }
    }
}
