//! `million demo`: everything in one process, with users, on free loopback ports.
//!
//! ```text
//! embedded etcd ◀──register── nodes ◀──WebSocket── users, who count
//!       └──watch──▶ push manager ──gRPC──▶ nodes
//! pusher ──gRPC──▶ push manager
//! ```

mod pushing;
mod report;
mod system;
mod trying;
mod users;

use std::path::Path;

use super::args::DemoFlags;
use super::error::CliError;
use super::output;
use super::program::{Program, configuration};
use super::signals::Signals;

use report::Report;
use system::System;
use users::Users;

pub(crate) fn run(config: Option<&Path>, flags: DemoFlags) -> Result<(), CliError> {
    let free = |key| (key, Some("127.0.0.1:0"), "demo");
    let configuration = configuration(
        config,
        [
            ("etcd.endpoints", Some("embedded"), "demo"),
            ("etcd.embedded.data_dir", Some(""), "demo"),
            free("push_manager.listen"),
            free("push_manager.metrics_listen"),
            free("connect_node.listen"),
            free("connect_node.websocket_listen"),
            ("connect_node.advertise", Some(""), "demo"),
            free("controller.listen"),
        ],
    )?;
    let program = Program::start(&configuration)?;
    let services = program.million.services();
    let ended = program.million.block_on(async {
        let mut signals = Signals::listen()?;
        let start = async {
            let system = System::start(&services, configuration, flags.nodes).await?;
            let entrances = system.entrances();
            let users = Users::connect(&services, flags.users, flags.rooms, &entrances).await?;
            Ok::<_, CliError>((system, users))
        };
        let Some(started) = signals.unless_heard(start).await else {
            signals.end_at_once_on_the_next(&services);
            return Ok(());
        };
        let (mut system, users) = started?;
        output::note(format_args!(
            "demo: {} nodes are up, {} users are in {} rooms",
            flags.nodes, flags.users, flags.rooms
        ));
        let report = match flags.messages {
            Some(messages) => {
                let push = pushing::push(&mut system, users, messages, flags.seconds);
                tokio::select! {
                    report = push => Some(report?),
                    () = signals.heard() => None,
                }
            }
            None => {
                trying::explain(&system, flags.rooms);
                signals.heard().await;
                drop(users);
                None
            }
        };
        signals.end_at_once_on_the_next(&services);
        system.stop().await;
        report.map_or(Ok(()), Report::print)
    });
    program.end();
    ended
}
