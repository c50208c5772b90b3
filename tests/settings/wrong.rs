//! What is refused, and how the refusal reads.

use million::framework::settings::{Document, Settings, SettingsError};

use crate::{configure, refusal};

#[test]
fn a_missing_file_is_named() {
    let error = Settings::load("no/such/file.yaml").unwrap_err();
    assert!(matches!(error, SettingsError::Unreadable { .. }));
    assert!(error.to_string().contains("no/such/file.yaml"), "{error}");
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.yaml");
    std::fs::write(&path, [0xff, 0xfe, 0x00, 0x80]).unwrap();
    assert!(matches!(
        Settings::load(&path),
        Err(SettingsError::Unreadable { .. })
    ));
}

#[test]
fn a_file_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.yaml");
    std::fs::write(&path, "# long\n".repeat(200_000)).unwrap();
    let error = Settings::load(&path).unwrap_err();
    assert!(
        error.to_string().contains("longer than 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn text_that_is_not_yaml_is_told_with_its_line() {
    let error = configure("node: { id: 1 }\nlogger: [\nx: }").unwrap_err();
    assert!(matches!(error, SettingsError::NotYaml { .. }), "{error:?}");
    assert!(error.to_string().starts_with("f.yaml:3:"), "{error}");
}

#[test]
fn more_than_one_document_is_refused() {
    assert!(refusal("node: { id: 1 }\n---\nnode: { id: 2 }\n").contains("more than one document"));
}

#[test]
fn a_top_level_that_is_not_a_mapping_is_refused() {
    for (text, found) in [
        ("[1, 2]", "a list"),
        ("hello", "a single value"),
        ("!x {a: 1}", "a tagged value"),
    ] {
        let error = configure(text).unwrap_err();
        assert!(
            matches!(error, SettingsError::NotAMapping { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_known_ones() {
    assert_eq!(
        refusal("node: { id: 1 }\nworker_mgr:\n  # more\n  nmu: 4\n"),
        "f.yaml:4:3: unknown key `worker_mgr.nmu`; the keys known here are num"
    );
    assert_eq!(
        refusal("etcd:\n  tls:\n    ca: x\n"),
        "f.yaml:3:5: unknown key `etcd.tls.ca`; the keys known here are ca_file, cert_file, key_file, insecure"
    );
    for section in [
        "io_context_mgr",
        "timer",
        "session_monitor",
        "logger",
        "push_manager",
        "connect_node",
        "controller",
    ] {
        let message = refusal(&format!("{section}:\n  wrong: 1\n"));
        assert!(
            message.starts_with(&format!("f.yaml:2:3: unknown key `{section}.wrong`")),
            "{message}"
        );
    }
}

#[test]
fn a_key_that_is_no_text_is_refused() {
    let message = refusal("worker_mgr:\n  4: 1\n");
    assert!(message.starts_with("f.yaml:2:3: "), "{message}");
}

#[test]
fn a_wrong_type_is_told_with_its_line() {
    assert_eq!(
        refusal("worker_mgr:\n  num: many\n"),
        r#"f.yaml:2:8: `worker_mgr.num`: invalid type: string "many", expected a whole number"#
    );
    assert_eq!(
        refusal("a: 1\npush_manager:\n  node_queue: 1.5\n"),
        "f.yaml:3:15: `push_manager.node_queue`: invalid type: floating point `1.5`, expected a whole number"
    );
    assert_eq!(
        refusal("\n\nlogger: 5\n"),
        "f.yaml:3:9: `logger`: invalid type: integer `5`, expected a mapping with the keys log_file, level and console_level"
    );
    let message = refusal("etcd:\n  tls:\n    insecure: perhaps\n");
    assert!(
        message.starts_with("f.yaml:3:15: `etcd.tls.insecure`: "),
        "{message}"
    );
}

#[test]
fn a_value_out_of_range_is_told_with_its_line_and_the_range() {
    assert_eq!(
        refusal("worker_mgr:\n  num: 1025\n"),
        "f.yaml:2:3: `worker_mgr.num`: must be between 0 and 1024, but is 1025"
    );
    for (section, key, value) in [
        ("node", "id", "-1"),
        ("worker_mgr", "num", "-1"),
        ("io_context_mgr", "num", "0"),
        ("timer", "ms_per_tick", "0"),
        ("session_monitor", "timeout_tick", "0"),
        ("session_monitor", "s_per_tick", "18446744073709551615"),
        ("etcd", "connect_timeout", "0"),
        ("etcd", "request_timeout", "600001"),
        ("etcd", "max_in_flight", "0"),
        ("etcd", "max_queued", "-1"),
        ("etcd", "heartbeat_check_interval_ms", "1"),
        ("push_manager", "node_queue", "0"),
        ("push_manager", "node_in_flight", "0"),
        ("push_manager", "node_timeout_ms", "0"),
        ("push_manager", "max_message_bytes", "104857601"),
        ("push_manager", "keepalive_interval_ms", "999"),
        ("push_manager", "keepalive_timeout_ms", "1"),
        ("push_manager", "shutdown_timeout_ms", "-5"),
        ("connect_node", "lease_ttl_seconds", "1"),
        ("connect_node", "user_queue", "0"),
        ("connect_node", "max_users", "0"),
        ("controller", "max_rooms", "0"),
        ("controller", "max_users", "10000001"),
    ] {
        let message = refusal(&format!("{section}:\n  {key}: {value}\n"));
        assert!(
            message.starts_with(&format!("f.yaml:2:3: `{section}.{key}`: must be between")),
            "{message}"
        );
    }
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused() {
    assert_eq!(
        refusal("push_manager: { node_protocol: smoke }"),
        "f.yaml:1:17: `push_manager.node_protocol`: the protocol `smoke` is not known; write `connect_node` or `push_server`"
    );
}

#[test]
fn a_level_that_is_none_is_refused() {
    assert_eq!(
        refusal("logger: { console_level: loud }"),
        "f.yaml:1:11: `logger.console_level`: `loud` is not a level; write trace, debug, info, warn, error or off"
    );
}

#[test]
fn a_key_that_stands_twice_is_told_at_its_second_place() {
    assert_eq!(
        refusal("worker_mgr:\n  num: 1\n  num: 2\n"),
        "f.yaml:3:3: the key `num` stands here for the second time; remove one of the two"
    );
    assert!(
        refusal("node: { id: 1 }\ntimer: {}\n\"node\": { id: 2 }\n")
            .starts_with("f.yaml:3:1: the key `node`")
    );
    assert!(
        refusal("shop:\n  - { a: 1, b: { c: 1, c: 2 } }\n").starts_with("f.yaml:2:24: the key `c`")
    );
    assert!(refusal("shop: !tag { 1: a, 1: b }\n").starts_with("f.yaml:1:20: the key `1`"));
}

#[test]
fn equal_keys_of_different_mappings_or_types_are_not_the_same() {
    configure("a: { x: 1 }\nb: { x: 1 }\nc: [ { x: 1 }, { x: 1 } ]\nd: { 1: x, \"1\": y, true: z, \"true\": z }\n").unwrap();
    configure("base: &base { x: 1 }\na: *base\nb: *base\n? [x, y]\n: 1\n").unwrap();
}

#[test]
fn addresses_ids_and_prefixes_are_checked() {
    for (section, key, value) in [
        ("push_manager", "id", "'a b'"),
        ("push_manager", "id", "''"),
        ("push_manager", "listen", "localhost:50053"),
        ("push_manager", "metrics_listen", "127.0.0.1"),
        ("push_manager", "controller_address", "http://x:1"),
        ("push_manager", "node_prefix", "/services/connect-node"),
        ("push_manager", "node_prefix", "/"),
        ("connect_node", "id", "a/b"),
        ("connect_node", "listen", "127.0.0.1:65536"),
        ("connect_node", "websocket_listen", "''"),
        ("connect_node", "advertise", "0.0.0.0:50052"),
        ("connect_node", "controller_address", "x:0"),
        ("controller", "listen", ":1"),
    ] {
        let message = refusal(&format!("{section}:\n  {key}: {value}\n"));
        assert!(
            message.starts_with(&format!("f.yaml:2:3: `{section}.{key}`: ")),
            "{message}"
        );
    }
}

#[test]
fn a_node_that_listens_everywhere_must_say_how_it_is_reached() {
    let message = refusal("connect_node:\n  listen: 0.0.0.0:50052\n");
    assert!(
        message.contains("`connect_node.advertise`: is empty"),
        "{message}"
    );

    let text = "connect_node:\n  listen: 0.0.0.0:50052\n  advertise: node-1.example:50052\n";
    let configuration = configure(text).unwrap();
    assert_eq!(
        configuration.connect_node.advertise().unwrap().host(),
        "node-1.example"
    );
}

#[test]
fn an_override_is_checked_like_the_file_and_named_in_the_error() {
    let document = || Document::parse("worker_mgr: { num: 3 }", "f.yaml").unwrap();
    let set = |key: &str, value: &str| {
        Settings::from_document(document().with_override(key, value, "--flag"))
            .map_err(|error| error.to_string())
    };
    assert_eq!(set("worker_mgr.num", "5").unwrap().workers(), 5);
    assert_eq!(
        set("worker_mgr.num", "5000").unwrap_err(),
        "--flag: `worker_mgr.num`: must be between 0 and 1024, but is 5000"
    );
    assert!(
        set("worker_mgr.num", "x")
            .unwrap_err()
            .starts_with("--flag: `worker_mgr.num`: ")
    );
    assert!(
        set("worker_mgr.num", "{")
            .unwrap_err()
            .starts_with("--flag: `worker_mgr.num`: ")
    );
    assert_eq!(
        set("worker_mgr.nmu", "1").unwrap_err(),
        "--flag: unknown key `worker_mgr.nmu`; the keys known here are num"
    );
}
