//! What a connection serves.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tower_layer::Layer;

use crate::etcd_service::embedded::disk::{Gate, GateLayer, Journal};
use crate::etcd_service::embedded::front::Front;
use crate::etcd_service::embedded::kv_service::KvService;

/// The services of a server, and how it ends. Each connection has a clone.
#[derive(Clone, Debug)]
pub(in crate::etcd_service::embedded) struct Services {
    /// For requests that are answered at once.
    pub(super) kv: KvService,
    /// For all others.
    all: Gate<Front>,
    /// What answers wait for, if anything is kept.
    pub(super) journal: Option<Arc<Journal>>,
    /// Connections end in order.
    pub(super) stopping: CancellationToken,
    /// Connections end at once.
    pub(super) cut: CancellationToken,
}

impl Services {
    pub(in crate::etcd_service::embedded) fn new(
        kv: KvService,
        front: Front,
        journal: Option<Arc<Journal>>,
        stopping: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        Self {
            kv,
            all: GateLayer::new(journal.clone()).layer(front),
            journal,
            stopping,
            cut,
        }
    }

    /// Answers any request. The future does not borrow the services.
    pub(super) fn answer(
        &self,
        request: http::Request<Body>,
    ) -> impl Future<Output = http::Response<Body>> + Send + use<> {
        let answer = self.all.clone().call(request);
        async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }
}
