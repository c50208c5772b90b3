//! `million controller`.

use std::path::Path;
use std::time::Duration;

use million::services::controller;

use super::args::ControllerFlags;
use super::error::CliError;
use super::output;
use super::program::{Program, configuration};
use super::signals::Signals;

/// Requests in progress have so long to end.
const STOP: Duration = Duration::from_secs(5);

pub(crate) fn run(config: Option<&Path>, flags: ControllerFlags) -> Result<(), CliError> {
    let configuration = configuration(
        config,
        [("controller.listen", flags.listen.as_deref(), "--listen")],
    )?;
    let program = Program::start(&configuration)?;
    let services = program.million.services();
    let served = program.million.block_on(async {
        let mut signals = Signals::listen()?;
        let controller = controller::start(&services, &configuration.controller).await?;
        output::result(format_args!(
            "controller listening on {}",
            controller.address()
        ));
        signals.heard().await;
        signals.end_at_once_on_the_next(&services);
        controller.stop(STOP).await;
        Ok(())
    });
    program.end();
    served
}
