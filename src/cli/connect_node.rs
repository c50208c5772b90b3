//! `million connect-node`.

use std::path::Path;
use std::time::Duration;

use million::services::connect_node;

use super::args::{ConnectNodeFlags, Override};
use super::error::CliError;
use super::output;
use super::program::{Program, configuration, first_to_end, serve, start_etcd};

/// Users have so long to take what their queues hold.
const STOP: Duration = Duration::from_secs(10);

pub(crate) fn run(config: Option<&Path>, flags: ConnectNodeFlags) -> Result<(), CliError> {
    let own: [Override<'_>; 4] = [
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
    ];
    let round = flags
        .surroundings
        .overrides("connect_node.controller_address");
    let configuration = configuration(config, own.into_iter().chain(round))?;
    let program = Program::start(&configuration)?;
    let services = program.million.services();
    let start = async {
        let (etcd, endpoint) = start_etcd(&services, configuration.etcd.clone()).await?;
        let mut node = connect_node::start(&services, &configuration.connect_node).await?;
        node.register(&etcd, configuration.push_manager.node_prefix())
            .await?;
        output::result(format_args!(
            "connect-node {} listening on {}, for users on http://{}, registered at {endpoint} as {}",
            node.node_id(),
            node.address(),
            node.websocket_address(),
            node.registration_key().unwrap_or_default(),
        ));
        Ok((etcd, node))
    };
    let served = program.million.block_on(serve(
        &services,
        start,
        async |(etcd, node)| {
            first_to_end([
                ("the etcd service", etcd.closed()),
                ("the Connect-Node", node.handle().closed()),
                (
                    "its client of the Controller",
                    node.controller_client_closed(),
                ),
            ])
            .await
        },
        async |(_, node)| node.stop(STOP).await,
    ));
    program.end();
    served
}
