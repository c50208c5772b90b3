//! The command line: the push manager, the reference Connect-Node and Controller, an embedded etcd, and a demo of all of them.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
