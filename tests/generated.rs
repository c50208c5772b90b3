//! The committed generated code is what `proto/` says: made again here, and compared. That of the push manager is under
//! `src/services/generated`, that of etcd's lock and election services under `src/etcd_service/embedded/generated`.
//!
//! `MILLION_UPDATE_GENERATED=1 cargo test --test generated` writes the files in place of comparing them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use million::services::generated::{FILE_DESCRIPTOR_SET, protocol, pubsub};
use prost::Message;

const UPDATE_VARIABLE: &str = "MILLION_UPDATE_GENERATED";
const UPDATE_COMMAND: &str = "MILLION_UPDATE_GENERATED=1 cargo test --test generated";
const PROTOS: &[&str] = &[
    "protocol.proto",
    "comet.proto",
    "goim_protocol.proto",
    "goim_comet.proto",
    "pubsub_push.proto",
    "pubsub_connect_node.proto",
    "pubsub_controller.proto",
];
const ETCD_PROTOS: &[&str] = &["etcd_lock.proto", "etcd_election.proto"];

/// Messages of etcd for which the client's own types stand.
const ETCD_CLIENT_TYPES: &[(&str, &str)] = &[
    (
        ".etcdserverpb.ResponseHeader",
        "::etcd_client::proto::PbResponseHeader",
    ),
    (".mvccpb.KeyValue", "::etcd_client::proto::PbKeyValue"),
];

/// Payloads are forwarded to many nodes and users: `Bytes` shares them where a `Vec` would be copied for each.
const SHARED_PAYLOADS: &[&str] = &[
    ".protocol.Proto.body",
    ".protocol.BroadcastRoomBatchReq.packedProtos",
    ".goim.protocol.Proto.body",
    ".goim.comet.BroadcastRoomBatchReq.packedProtos",
    ".pubsub.MessageContent.data",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Generates the push manager's code into `folder`.
fn generate_services(folder: &Path) {
    let mut builder = generator(folder);
    for payload in SHARED_PAYLOADS {
        builder = builder.bytes(payload);
    }
    builder
        .compile_fds(compile(PROTOS, true).file_descriptor_set())
        .expect("the protos generate");
    std::fs::write(
        folder.join("descriptor.bin"),
        compile(PROTOS, false).encode_file_descriptor_set(),
    )
    .expect("the folder can be written");
}

/// Generates the servers of etcd's lock and election services into `folder`. Clients have `etcd-client`.
fn generate_etcd(folder: &Path) {
    let mut builder = generator(folder).build_client(false);
    for (message, replacement) in ETCD_CLIENT_TYPES {
        builder = builder.extern_path(*message, *replacement);
    }
    builder
        .compile_fds(compile(ETCD_PROTOS, true).file_descriptor_set())
        .expect("the protos generate");
}

fn compile(protos: &[&str], comments: bool) -> protox::Compiler {
    let mut compiler = protox::Compiler::new([root().join("proto")]).expect("proto/ exists");
    compiler.include_source_info(comments).include_imports(true);
    compiler.open_files(protos).expect("the protos compile");
    compiler
}

fn generator(folder: &Path) -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .out_dir(folder)
        .emit_rerun_if_changed(false)
}

/// Everything in `folder` that is generated, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("the folder can be read"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("names are ASCII");
            let content = std::fs::read(entry.path()).expect("the file can be read");
            (name, content)
        })
        .filter(|(name, _)| name != "mod.rs")
        .collect()
}

/// Holds what is committed in `folder` against what `generate` makes, or writes it.
fn hold(folder: &str, generate: fn(&Path)) {
    let fresh = tempfile::tempdir().expect("a temporary folder");
    generate(fresh.path());
    let fresh = files(fresh.path());
    let committed = root().join(folder);

    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        for name in files(&committed).keys() {
            std::fs::remove_file(committed.join(name)).expect("the old file can be removed");
        }
        for (name, content) in &fresh {
            std::fs::write(committed.join(name), content).expect("the file can be written");
        }
        return;
    }

    let old = files(&committed);
    let differing: BTreeSet<&String> = fresh
        .keys()
        .chain(old.keys())
        .filter(|name| fresh.get(*name) != old.get(*name))
        .collect();
    assert!(
        differing.is_empty(),
        "{folder} does not follow proto/: {differing:?}; run `{UPDATE_COMMAND}` and commit the result"
    );
}

#[test]
fn the_generated_code_of_the_services_is_what_the_protocols_say() {
    hold("src/services/generated", generate_services);
}

#[test]
fn the_generated_code_of_the_embedded_etcd_is_what_the_protocols_say() {
    hold("src/etcd_service/embedded/generated", generate_etcd);
}

#[test]
fn the_descriptor_lists_every_service_for_reflection() {
    let set = service_names(FILE_DESCRIPTOR_SET);
    for service in [
        "PushServer",
        "Comet",
        "PushManagerService",
        "ConnectNodeService",
        "ControllerService",
    ] {
        assert!(
            set.iter().any(|name| name == service),
            "{service} is missing from {set:?}"
        );
    }
}

/// Names of the services in an encoded `FileDescriptorSet`: field 1 of the set, field 6 of a file, field 1 of a service.
fn service_names(descriptor: &[u8]) -> Vec<String> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Set {
        #[prost(message, repeated, tag = "1")]
        files: Vec<File>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct File {
        #[prost(message, repeated, tag = "6")]
        services: Vec<Named>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Set::decode(descriptor)
        .expect("the descriptor decodes")
        .files
        .into_iter()
        .flat_map(|file| file.services)
        .map(|service| service.name)
        .collect()
}

#[test]
fn messages_keep_the_numbers_that_are_in_the_field() {
    let request = protocol::BroadCastRoomReq {
        room_id: "r".into(),
        proto: Some(protocol::Proto {
            ver: 1,
            op: 2,
            seq: 3,
            roomid: "a".into(),
            userid: "b".into(),
            body: "c".into(),
        }),
    };
    // A tag is number * 8 + kind: 0 for a number, 2 for bytes.
    assert_eq!(
        request.encode_to_vec(),
        [
            0x0a, 1, b'r', 0x12, 15, 0x08, 1, 0x10, 2, 0x18, 3, 0x22, 1, b'a', 0x2a, 1, b'b', 0x32,
            1, b'c'
        ]
    );

    let reply = protocol::BroadCastReply {
        code: "0".into(),
        msg: "OK".into(),
        desc: String::new(),
        accepted_nodes: 3,
        refused_nodes: 1,
    };
    assert_eq!(
        reply.encode_to_vec(),
        [0x0a, 1, b'0', 0x12, 2, b'O', b'K', 0x20, 3, 0x28, 1]
    );

    let place = pubsub::GetUserNodeResponse {
        node_id: "n".into(),
        node_address: "h".into(),
        found: true,
        room_id: "r".into(),
    };
    assert_eq!(
        place.encode_to_vec(),
        [0x0a, 1, b'n', 0x12, 1, b'h', 0x18, 1, 0x22, 1, b'r']
    );
}
