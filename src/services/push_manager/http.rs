//! What those who run a push manager ask it over HTTP, at `push_manager.metrics_listen`.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | what there is to measure, as Prometheus scrapes it |
//! | `/healthz` | 200 as long as the process lives |
//! | `/readyz` | 200 when pushes are taken, else 503 with a sentence that says why not |
//!
//! Nothing is kept between scrapes: every number is asked for when somebody wants it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::framework::{CallError, Handle, Services};
use crate::services::server::{Port, Protocol, Server};

use super::api_record::ApiRecord;
use super::exposition::CONTENT_TYPE;
use super::messages::{MayPush, Nodes, PushError};
use super::metrics;
use super::service::PushManager;
use super::settings::PushManagerSettings;

/// How long a scrape may wait for the push manager: half of the 10 s for which Prometheus waits, so that it hears why.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);
/// How long `/readyz` may wait for it: less than the second for which probes commonly wait, for the same reason.
const PROBE_LIMIT: Duration = Duration::from_millis(800);
/// How long an answer in progress may take to leave when the server stops. It takes milliseconds, unless the network is broken.
const FLUSH: Duration = Duration::from_millis(250);

/// The HTTP server. Dropping it ends it at once.
#[derive(Debug)]
pub(crate) struct HttpServer {
    server: Server,
    stopping: CancellationToken,
}

impl HttpServer {
    /// Answers for `manager` at `port` from now on.
    pub(crate) fn serve(
        port: Port,
        settings: &PushManagerSettings,
        manager: &Handle<PushManager>,
        api: &ApiRecord,
        services: &Services,
    ) -> Self {
        let stopping = CancellationToken::new();
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .fallback(async || {
                let there_is = "there are /metrics, /healthz and /readyz\n";
                (StatusCode::NOT_FOUND, there_is)
            })
            .with_state(Desk {
                id: settings.id().into(),
                manager: manager.clone(),
                api: api.clone(),
                stopping: stopping.clone(),
            });
        let server = port.serve(services, router, Protocol::Http);
        tracing::info!(address = %server.address(), "metrics and health are served over HTTP");
        Self { server, stopping }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// From now on `/readyz` says that the push manager is stopping.
    pub(crate) fn say_stopping(&self) {
        self.stopping.cancel();
    }

    /// Ends it, in a fraction of a second.
    pub(crate) async fn stop(self) {
        self.server.stop(FLUSH).await;
    }
}

/// What the answers are made of.
#[derive(Clone)]
struct Desk {
    id: Arc<str>,
    manager: Handle<PushManager>,
    api: ApiRecord,
    stopping: CancellationToken,
}

async fn metrics(State(desk): State<Desk>) -> Response {
    match desk.manager.call(Nodes).timeout(SCRAPE_LIMIT).await {
        Ok(table) => {
            let text = metrics::render(&desk.id, &table, &desk.api);
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
        }
        Err(error) => unavailable(&unanswered(error)),
    }
}

async fn ready(State(desk): State<Desk>) -> Response {
    if desk.stopping.is_cancelled() {
        return unavailable(&PushError::Stopping.to_string());
    }
    match desk.manager.call(MayPush).timeout(PROBE_LIMIT).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(error)) => unavailable(&error.to_string()),
        Err(error) => unavailable(&unanswered(error)),
    }
}

fn unanswered(error: CallError) -> String {
    match error {
        CallError::Closed => "the push manager has ended".to_owned(),
        error => format!("the push manager did not answer: {error}"),
    }
}

fn unavailable(sentence: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{sentence}\n")).into_response()
}
