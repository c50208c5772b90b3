//! `million controller`.

use std::path::Path;
use std::time::Duration;

use million::services::controller;

use super::args::ControllerFlags;
use super::error::CliError;
use super::output;
use super::program::{Program, configuration, first_to_end, serve};

/// Requests in progress have so long to end.
const STOP: Duration = Duration::from_secs(5);

pub(crate) fn run(config: Option<&Path>, flags: ControllerFlags) -> Result<(), CliError> {
    let configuration = configuration(
        config,
        [("controller.listen", flags.listen.as_deref(), "--listen")],
    )?;
    let program = Program::start(&configuration)?;
    let services = program.million.services();
    let start = async {
        let controller = controller::start(&services, &configuration.controller).await?;
        output::result(format_args!(
            "controller listening on {}",
            controller.address()
        ));
        Ok(controller)
    };
    let served = program.million.block_on(serve(
        &services,
        start,
        async |controller| first_to_end([("the Controller", controller.handle().closed())]).await,
        async |controller| controller.stop(STOP).await,
    ));
    program.end();
    served
}
