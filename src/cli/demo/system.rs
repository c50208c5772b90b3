//! The system of the demo: etcd, Controller, nodes and push manager.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use million::etcd_service::{Discovery, Etcd, Subscriber};
use million::framework::{Handle, Services};
use million::services::connect_node::{self, RunningConnectNode};
use million::services::controller::{self, RunningController};
use million::services::push_manager::{self, NodeState, NodeTable, Nodes, RunningPushManager};
use million::services::settings::Configuration;

use super::super::error::CliError;
use super::super::program::start_etcd;

/// Nothing in one process takes longer, unless it is broken.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// How long one part of the system may take to stop.
const STOP: Duration = Duration::from_secs(5);

pub(super) struct System {
    services: Services,
    configuration: Configuration,
    controller: RunningController,
    etcd: Handle<Etcd>,
    etcd_endpoint: String,
    discovery: Handle<Discovery>,
    push_manager: RunningPushManager,
    nodes: Vec<RunningConnectNode>,
    started_nodes: u32,
    /// From each node's registration to the push manager's connection to it.
    discoveries: Vec<Duration>,
}

impl System {
    pub(super) async fn start(
        services: &Services,
        configuration: Configuration,
        nodes: u32,
    ) -> Result<Self, CliError> {
        let (etcd, etcd_endpoint) = start_etcd(services, configuration.etcd.clone()).await?;
        let controller = controller::start(services, &configuration.controller).await?;
        let push_manager =
            push_manager::start(services, configuration.push_manager.clone()).await?;
        let discovery = services.spawn(Discovery::new(
            etcd.clone(),
            configuration.push_manager.node_prefix(),
            Subscriber::of(&push_manager.handle),
        ));
        let mut system = Self {
            services: services.clone(),
            configuration,
            controller,
            etcd,
            etcd_endpoint,
            discovery,
            push_manager,
            nodes: Vec::new(),
            started_nodes: 0,
            discoveries: Vec::new(),
        };
        system
            .wait_for("the push manager knows the nodes", |table| {
                table.synchronized
            })
            .await?;
        for _ in 0..nodes {
            system.start_node().await?;
        }
        Ok(system)
    }

    /// Starts one more node and waits until the push manager is connected to it.
    pub(super) async fn start_node(&mut self) -> Result<(), CliError> {
        self.started_nodes += 1;
        let settings = self.node_settings()?;
        let mut node = connect_node::start(&self.services, &settings.connect_node).await?;
        let begun = self.services.now();
        node.register(&self.etcd, self.configuration.push_manager.node_prefix())
            .await?;
        let key = node.registration_key().unwrap_or_default().to_owned();
        self.nodes.push(node);
        let ready = |table: &NodeTable| -> Option<Instant> {
            let node = table.nodes.iter().find(|node| node.key == key)?;
            node.ready_at.filter(|_| node.state == NodeState::Ready)
        };
        let table = self
            .wait_for("the push manager is connected to the new node", |table| {
                ready(table).is_some()
            })
            .await?;
        if let Some(ready) = ready(&table) {
            self.discoveries
                .push(ready.saturating_duration_since(begun));
        }
        Ok(())
    }

    fn node_settings(&self) -> Result<Configuration, CliError> {
        let controller = self.controller.address().to_string();
        let id = format!("connect-node-{}", self.started_nodes);
        let document = self.configuration.framework.document().clone();
        Ok(Configuration::from_document(
            document
                .with_override("connect_node.id", id, "demo")
                .with_override("connect_node.controller_address", controller, "demo"),
        )?)
    }

    /// Stops the oldest node, as an operator would, and waits until the push manager has let go of it.
    pub(super) async fn stop_oldest_node(&mut self) -> Result<(), CliError> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        let node = self.nodes.remove(0);
        let key = node.registration_key().unwrap_or_default().to_owned();
        node.stop(STOP).await;
        self.wait_for(
            "the push manager has let go of the node that left",
            |table| table.nodes.iter().all(|node| node.key != key),
        )
        .await?;
        Ok(())
    }

    /// Waits until everything that the push manager accepted is on its users' connections, or was given up.
    pub(super) async fn drained(&self) -> Result<NodeTable, CliError> {
        self.wait_for("the push manager's queues are empty", |table| {
            table.total().queued == 0
        })
        .await
    }

    async fn wait_for(
        &self,
        what: &str,
        condition: impl Fn(&NodeTable) -> bool,
    ) -> Result<NodeTable, CliError> {
        let begun = self.services.now();
        loop {
            let table = self
                .push_manager
                .handle
                .call(Nodes)
                .await
                .map_err(|error| CliError::Demo(format!("the push manager: {error}")))?;
            if condition(&table) {
                return Ok(table);
            }
            if self.services.now() - begun > LIMIT {
                return Err(CliError::Demo(format!(
                    "waited {LIMIT:?} in vain until {what}: {table:?}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Where users connect, one address a node.
    pub(super) fn entrances(&self) -> Vec<SocketAddr> {
        self.nodes
            .iter()
            .map(RunningConnectNode::websocket_address)
            .collect()
    }

    pub(super) fn push_address(&self) -> SocketAddr {
        self.push_manager.grpc.address()
    }

    pub(super) fn metrics_address(&self) -> SocketAddr {
        self.push_manager.metrics_address()
    }

    pub(super) fn controller_address(&self) -> SocketAddr {
        self.controller.address()
    }

    pub(super) fn etcd_endpoint(&self) -> &str {
        &self.etcd_endpoint
    }

    pub(super) fn node_prefix(&self) -> &str {
        self.configuration.push_manager.node_prefix()
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn discoveries(&self) -> &[Duration] {
        &self.discoveries
    }

    pub(super) async fn stop(mut self) {
        self.discovery.stop().await;
        let deadline = self.configuration.push_manager.shutdown_timeout();
        let report = self.push_manager.stop(deadline).await;
        tracing::info!(?report, "the push manager has stopped");
        let nodes = self.nodes.drain(..).map(|node| node.stop(STOP));
        futures::future::join_all(nodes).await;
        self.controller.stop(STOP).await;
    }
}
