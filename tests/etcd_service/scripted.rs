//! An etcd that refuses what it is told to: before a real or embedded one, it answers the next requests of a method with a
//! status, passes all others on, and counts them.

// Two test binaries compile this file and use the part that they need.
#![allow(dead_code)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use futures::future::poll_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::client::GrpcService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

/// A server on a free loopback port. It ends with its handle.
pub(crate) struct Scripted {
    address: SocketAddr,
    script: Arc<Script>,
    end: CancellationToken,
}

struct Script {
    target: Channel,
    methods: Mutex<HashMap<String, Method>>,
    tokens: Mutex<BTreeSet<String>>,
}

#[derive(Default)]
struct Method {
    /// What the next ones are answered; `None` passes one on.
    next: VecDeque<Option<Status>>,
    /// Held back until it is cancelled.
    held: Option<CancellationToken>,
    asked: usize,
    /// How many of them were to be answered only with a leader.
    with_leader: usize,
}

impl Scripted {
    /// Begins to pass requests on to `target`. To be called in a tokio runtime.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Endpoint::from_shared(target.to_owned()).unwrap();
        let script = Arc::new(Script {
            target: target.connect_lazy(),
            methods: Mutex::default(),
            tokens: Mutex::default(),
        });
        let routes = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        let end = CancellationToken::new();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = Server::builder()
            .add_routes(Routes::from(routes))
            .serve_with_incoming(incoming);
        let ended = end.clone();
        tokio::spawn(async move { ended.run_until_cancelled(serving).await });
        Self {
            address,
            script,
            end,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next `times` requests of `method`, such as `Put`, with `status`, and passes none of them on.
    pub(crate) fn refuse(&self, method: &str, times: usize, status: &Status) {
        self.say(method, times, Some(status));
    }

    /// Passes the next `times` requests of `method` on, before what is said of those after them.
    pub(crate) fn pass(&self, method: &str, times: usize) {
        self.say(method, times, None);
    }

    fn say(&self, method: &str, times: usize, answer: Option<&Status>) {
        let mut methods = self.script.methods.lock().unwrap();
        let next = &mut methods.entry(method.to_owned()).or_default().next;
        next.extend(std::iter::repeat_n(answer.cloned(), times));
    }

    /// Holds requests of `method` back until the token is cancelled.
    pub(crate) fn hold(&self, method: &str) -> CancellationToken {
        let token = CancellationToken::new();
        let mut methods = self.script.methods.lock().unwrap();
        methods.entry(method.to_owned()).or_default().held = Some(token.clone());
        token
    }

    /// How many requests of `method` have come.
    pub(crate) fn asked(&self, method: &str) -> usize {
        let methods = self.script.methods.lock().unwrap();
        methods.get(method).map_or(0, |method| method.asked)
    }

    /// What requests have shown to be let in.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.script.tokens.lock().unwrap().iter().cloned().collect()
    }

    /// How many of them asked for an endpoint with a leader.
    pub(crate) fn asked_with_leader(&self, method: &str) -> usize {
        let methods = self.script.methods.lock().unwrap();
        methods.get(method).map_or(0, |method| method.with_leader)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn answer(
    State(script): State<Arc<Script>>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let name = path.rsplit('/').next().unwrap_or_default();
    let (refusal, held) = {
        let mut methods = script.methods.lock().unwrap();
        let method = methods.entry(name.to_owned()).or_default();
        method.asked += 1;
        method.with_leader += usize::from(request.headers().contains_key("hasleader"));
        (method.next.pop_front().flatten(), method.held.clone())
    };
    if let Some(token) = request.headers().get("token") {
        let token = token.to_str().unwrap().to_owned();
        script.tokens.lock().unwrap().insert(token);
    }
    if let Some(held) = held {
        held.cancelled().await;
    }
    if let Some(status) = refusal {
        return status.into_http();
    }
    let mut target = script.target.clone();
    let request = request.map(tonic::body::Body::new);
    let passed = async {
        poll_fn(|context| GrpcService::<tonic::body::Body>::poll_ready(&mut target, context))
            .await?;
        GrpcService::call(&mut target, request).await
    };
    match passed.await {
        Ok(response) => response.map(Body::new),
        Err(error) => Status::unavailable(error.to_string()).into_http(),
    }
}
