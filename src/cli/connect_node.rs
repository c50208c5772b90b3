//! `million connect-node`.

use std::path::Path;
use std::time::Duration;

use million::etcd_service::{Etcd, NodeRecord, Register, Registration};
use million::framework::Handle;
use million::services::connect_node::{self, RunningConnectNode};

use super::args::ConnectNodeFlags;
use super::error::CliError;
use super::output;
use super::program::{Program, configuration, start_etcd};
use super::signals::Signals;

/// Users have so long to take what their queues hold.
const STOP: Duration = Duration::from_secs(10);

pub(crate) fn run(config: Option<&Path>, flags: ConnectNodeFlags) -> Result<(), CliError> {
    let configuration = configuration(
        config,
        &[
            ("connect_node.id", flags.id.as_deref(), "--id"),
            ("connect_node.listen", flags.listen.as_deref(), "--listen"),
            (
                "connect_node.websocket_listen",
                flags.websocket_listen.as_deref(),
                "--websocket-listen",
            ),
            (
                "connect_node.advertise",
                flags.advertise.as_deref(),
                "--advertise",
            ),
            (
                "connect_node.controller_address",
                flags.controller.as_deref(),
                "--controller",
            ),
            (
                "push_manager.node_prefix",
                flags.node_prefix.as_deref(),
                "--node-prefix",
            ),
            ("etcd.endpoints", flags.etcd.as_deref(), "--etcd"),
        ],
    )?;
    let program = Program::start(&configuration)?;
    let services = program.million.services();
    let served = program.million.block_on(async {
        let mut signals = Signals::listen()?;
        let (etcd, endpoint) = start_etcd(&services, configuration.etcd.clone()).await?;
        let node = connect_node::start(&services, &configuration.connect_node).await?;
        let registration = register(
            &etcd,
            &node,
            configuration.push_manager.node_prefix(),
            configuration.connect_node.lease_ttl(),
        )
        .await?;
        output::result(format_args!(
            "connect-node {} listening on {}, for users on http://{}, registered at {endpoint} as {}",
            node.node_id(),
            node.address(),
            node.websocket_address(),
            registration.key(),
        ));
        signals.heard().await;
        signals.end_at_once_on_the_next(&services);
        unregister(registration).await;
        node.stop(STOP).await;
        Ok(())
    });
    program.end();
    served
}

/// Registers `node` under `prefix`, for as long as the registration is held.
pub(crate) async fn register(
    etcd: &Handle<Etcd>,
    node: &RunningConnectNode,
    prefix: &str,
    ttl: Duration,
) -> Result<Registration, CliError> {
    let record = NodeRecord {
        address: node.advertised_address().to_owned(),
        metadata: node.metadata().clone(),
    };
    let register = Register {
        key: format!("{prefix}{}", record.address),
        value: record.to_value(),
        ttl,
    };
    match etcd.call(register).without_timeout().await {
        Ok(registration) => registration.map_err(CliError::Register),
        Err(_) => Err(CliError::EtcdEnded(etcd.closed().await.to_string())),
    }
}

/// Withdraws a registration, so that nobody sends to a node that is about to end.
pub(crate) async fn unregister(registration: Registration) {
    let key = registration.key().to_owned();
    if let Err(error) = registration.unregister().await {
        tracing::warn!(key, %error, "the registration could not be withdrawn, and ends with its lease");
    }
}
