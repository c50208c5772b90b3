//! `million etcd`: the embedded etcd alone.

use std::path::Path;
use std::time::Duration;

use million::etcd_service::embedded::{self, EmbeddedOptions};
use million::framework::IoError;

use super::args::EtcdFlags;
use super::error::CliError;
use super::output;
use super::program::{Program, configuration, serve};

/// Open streams are told to end, and the disk gets what is not yet on it: each has five seconds, and this is a little longer.
const STOP: Duration = Duration::from_secs(11);

pub(crate) fn run(config: Option<&Path>, flags: EtcdFlags) -> Result<(), CliError> {
    let program = Program::start(&configuration(config, [])?)?;
    let services = program.million.services();
    let mut options = EmbeddedOptions::default()
        .fsync(!flags.no_fsync)
        .rewrite_bytes(flags.rewrite_bytes);
    if let Some(folder) = &flags.data_dir {
        options = options.data_dir(folder);
    }
    let start = async {
        let server = services
            .io(embedded::start_with(flags.listen, options))
            .await
            .map_err(|error: IoError| CliError::EtcdStart(error.to_string()))??;
        output::result(format_args!("etcd listening on {}", server.address()));
        output::result(match &flags.data_dir {
            Some(folder) => format!("etcd keeps its data in {}", folder.display()),
            None => "etcd keeps nothing on disk: all keys are gone when it stops".to_owned(),
        });
        Ok(server)
    };
    let served = program.million.block_on(serve(
        &services,
        start,
        // It is no service, and ends when it is told to.
        async |_| std::future::pending().await,
        async |server| {
            let stopped = services.io(tokio::time::timeout(STOP, server.stop())).await;
            if !matches!(stopped, Ok(Ok(()))) {
                tracing::warn!("the etcd server did not stop in time, and was cut");
            }
        },
    ));
    program.end();
    served
}
