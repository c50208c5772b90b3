//! `million connect-node`.

use std::path::Path;
use std::time::Duration;

use million::services::connect_node;

use super::args::{ConnectNodeFlags, Override};
use super::error::CliError;
use super::output;
use super::program::{Program, configuration, start_etcd};
use super::signals::Signals;

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
    let served = program.million.block_on(async {
        let mut signals = Signals::listen()?;
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
        signals.heard().await;
        signals.end_at_once_on_the_next(&services);
        node.stop(STOP).await;
        Ok(())
    });
    program.end();
    served
}
