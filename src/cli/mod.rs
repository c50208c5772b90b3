//! One file a command, and what they share: arguments, settings, signals, errors.

mod args;
mod connect_node;
mod controller;
mod demo;
mod error;
mod etcd;
mod output;
mod program;
mod push_manager;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// Reads the arguments, runs the command, and tells how it ended: 0 as asked, 1 it failed, 2 it was asked wrongly.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = arguments.config.as_deref();
    let ended = match arguments.command {
        Command::PushManager(flags) => push_manager::run(config, flags),
        Command::ConnectNode(flags) => connect_node::run(config, flags),
        Command::Controller(flags) => controller::run(config, flags),
        Command::Etcd(flags) => etcd::run(config, flags),
        Command::Demo(flags) => demo::run(config, flags),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::problem(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
