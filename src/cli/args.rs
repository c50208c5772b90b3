//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use million::etcd_service::embedded::EmbeddedOptions;

/// Services as message handlers, an etcd service, and a push manager built on both.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Settings file [default: config.yaml in the current directory, if there is one; or the variable CONFIG_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Settings come from the file, above it the environment (CONFIG_FILE, ETCD_ENDPOINTS, MANAGER_ID, GRPC_PORT, METRICS_PORT,
CONTROLLER_ADDRESS), above both the flags. config.yaml in the repository describes them all. SIGINT and SIGTERM end a
command in order; a second one ends it at once.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a push manager: business servers call it over gRPC, it pushes to users through the Connect-Nodes
    PushManager(PushManagerFlags),
    /// Run a reference Connect-Node: users connect to it by WebSocket
    ConnectNode(ConnectNodeFlags),
    /// Run a reference Controller: who is in which room
    Controller(ControllerFlags),
    /// Run an etcd of one member: in memory, or with its data in a folder
    Etcd(EtcdFlags),
    /// Run everything in this process on free ports, with users, and push to them
    Demo(DemoFlags),
}

#[derive(Debug, Args)]
pub(crate) struct PushManagerFlags {
    /// Name in logs and metrics
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Where the gRPC server listens, port 0 for a free one [default: 127.0.0.1:50053]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Where metrics and health are served over HTTP [default: 127.0.0.1:9093]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_listen: Option<String>,
    #[command(flatten)]
    pub(crate) surroundings: Surroundings,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectNodeFlags {
    /// Name at the Controller and in the registration, unlike those of other nodes
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Where the gRPC server listens, port 0 for a free one [default: 127.0.0.1:50052]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Where users connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) websocket_listen: Option<String>,
    /// The address to register, at which the push manager reaches this node [default: where the gRPC server listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    #[command(flatten)]
    pub(crate) surroundings: Surroundings,
}

/// What push managers and Connect-Nodes have round them.
#[derive(Debug, Args)]
pub(crate) struct Surroundings {
    /// Where the Controller is [default: localhost:50051]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) controller: Option<String>,
    /// Prefix of the keys under which Connect-Nodes register [default: /services/connect-node/]
    #[arg(long, value_name = "PREFIX")]
    pub(crate) node_prefix: Option<String>,
    /// Where etcd is: host:port, several with commas, or `embedded` for one in this process alone [default: embedded]
    #[arg(long, value_name = "ENDPOINTS")]
    pub(crate) etcd: Option<String>,
}

/// A setting that a flag overrides: its key, the flag's value if it was given, and the flag.
pub(crate) type Override<'a> = (&'a str, Option<&'a str>, &'a str);

impl Surroundings {
    /// `controller` is the setting that says where the Controller is.
    pub(crate) fn overrides<'a>(&'a self, controller: &'a str) -> [Override<'a>; 3] {
        [
            (controller, self.controller.as_deref(), "--controller"),
            (
                "push_manager.node_prefix",
                self.node_prefix.as_deref(),
                "--node-prefix",
            ),
            ("etcd.endpoints", self.etcd.as_deref(), "--etcd"),
        ]
    }
}

#[derive(Debug, Args)]
pub(crate) struct ControllerFlags {
    /// Where the gRPC server listens, port 0 for a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EtcdFlags {
    /// Where clients connect, port 0 for a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:2379")]
    pub(crate) listen: SocketAddr,
    /// Folder for its data, which is made if it is missing [default: none, all keys are gone when it stops]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Do not force each write onto the disk: faster, and safe when the process is killed, but not when the machine fails
    #[arg(long, requires = "data_dir")]
    pub(crate) no_fsync: bool,
    /// Write the file anew when it has grown by so many bytes and to twice of what it began with
    #[arg(long, value_name = "BYTES", requires = "data_dir", default_value_t = EmbeddedOptions::DEFAULT_REWRITE_BYTES)]
    pub(crate) rewrite_bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DemoFlags {
    /// Connect-Nodes at the start
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) nodes: u32,
    /// Users, spread over nodes and rooms
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) users: u32,
    /// Rooms
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) rooms: u32,
    /// Push so many messages, broadcasts and room messages in turn, and report; without it the demo stays up for you to try
    #[arg(long, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(crate) messages: Option<u32>,
    /// Spread the messages over so many seconds; 0 for as fast as they are taken
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(0..=86_400))]
    pub(crate) seconds: u32,
}
