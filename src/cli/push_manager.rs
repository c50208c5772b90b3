//! `million push-manager`.

use std::path::Path;

use million::etcd_service::{Discovery, Subscriber};
use million::services::push_manager;

use super::args::{Override, PushManagerFlags};
use super::error::CliError;
use super::output;
use super::program::{Program, configuration, first_to_end, serve, start_etcd};

pub(crate) fn run(config: Option<&Path>, flags: PushManagerFlags) -> Result<(), CliError> {
    let own: [Override<'_>; 3] = [
        ("push_manager.id", flags.id.as_deref(), "--id"),
        ("push_manager.listen", flags.listen.as_deref(), "--listen"),
        (
            "push_manager.metrics_listen",
            flags.metrics_listen.as_deref(),
            "--metrics-listen",
        ),
    ];
    let round = flags
        .surroundings
        .overrides("push_manager.controller_address");
    let configuration = configuration(config, own.into_iter().chain(round))?;
    let program = Program::start(&configuration)?;
    let services = program.million.services();
    let settings = configuration.push_manager;
    let start = async {
        let (etcd, endpoint) = start_etcd(&services, configuration.etcd.clone()).await?;
        let push_manager = push_manager::start(&services, settings.clone()).await?;
        let discovery = services.spawn(Discovery::new(
            etcd.clone(),
            settings.node_prefix(),
            Subscriber::of(&push_manager.handle),
        ));
        output::result(format_args!(
            "push-manager {} listening on {}, metrics at http://{}/metrics, finding nodes at {endpoint} under {}",
            settings.id(),
            push_manager.grpc.address(),
            push_manager.metrics_address(),
            settings.node_prefix(),
        ));
        Ok((etcd, push_manager, discovery))
    };
    let served = program.million.block_on(serve(
        &services,
        start,
        async |(etcd, push_manager, discovery)| {
            first_to_end([
                ("the etcd service", etcd.closed()),
                ("the push manager", push_manager.handle.closed()),
                ("discovery", discovery.closed()),
            ])
            .await
        },
        async |(_, push_manager, discovery)| {
            discovery.stop().await;
            let report = push_manager.stop(settings.shutdown_timeout()).await;
            tracing::info!(?report, "the push manager has stopped");
        },
    ));
    program.end();
    served
}
