//! The file that comes with the project, the file of a ported node, and sections of services.

use std::collections::BTreeMap;
use std::time::Duration;

use million::etcd_service::settings::Endpoints;
use million::framework::settings::{Settings, SettingsError};
use million::services::settings::Configuration;
use serde::Deserialize;
use serde_yaml::Value;
use tracing::level_filters::LevelFilter;

use crate::configure;

fn config_yaml() -> &'static str {
    include_str!("../../config.yaml")
}

/// Every leaf of a tree of mappings, by its path.
fn leaves(prefix: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                let key = key.as_str().expect("keys are texts");
                leaves(&format!("{prefix}{key}."), value, found);
            }
        }
        leaf => assert!(
            found.insert(prefix.to_owned(), leaf.clone()).is_none(),
            "{prefix}"
        ),
    }
}

fn leaves_of(text: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves("", &serde_yaml::from_str(text).expect("YAML"), &mut found);
    found
}

#[test]
fn config_yaml_names_every_setting_with_its_default() {
    let file = leaves_of(config_yaml());
    let defaults = leaves_of(&Configuration::default_yaml());
    assert!(
        defaults.len() > 40,
        "the defaults hold all sections: {defaults:#?}"
    );
    assert_eq!(file, defaults);
}

#[test]
fn config_yaml_loads() {
    configure(config_yaml()).unwrap();
}

#[test]
fn every_setting_of_config_yaml_is_explained() {
    let mut explained = false;
    for line in config_yaml().lines() {
        let line = line.trim();
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else {
            // One comment may serve the lines right below it, and a section's its whole head.
            assert!(explained, "no comment above `{line}`");
        }
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "worker_mgr:\netcd:\n",
        "logger: ~\n",
    ] {
        let configuration = configure(text).unwrap();
        assert_eq!(
            configuration.etcd,
            Configuration::default().etcd,
            "{text:?}"
        );
        assert_eq!(
            configuration.framework.logger(),
            Settings::default().logger(),
            "{text:?}"
        );
    }
}

#[test]
fn the_defaults_have_the_documented_meaning() {
    let settings = Settings::default();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(settings.workers(), cores);
    assert_eq!(settings.io_threads(), 1);
    assert_eq!(settings.tick(), Duration::from_millis(10));
    assert_eq!(settings.call_timeout(), Duration::from_secs(10));
    assert_eq!(settings.logger().log_file(), None);
    assert_eq!(settings.logger().level(), LevelFilter::INFO);

    let Configuration {
        etcd,
        push_manager,
        connect_node,
        controller,
        ..
    } = Configuration::default();
    assert_eq!(*etcd.endpoints(), Endpoints::Embedded);
    assert_eq!(push_manager.max_message_bytes(), 100 * 1024 * 1024);
    assert_eq!(push_manager.node_timeout(), Duration::from_secs(5));
    assert_eq!(connect_node.advertise(), None);
    assert_eq!(controller.listen().port(), 50051);
}

/// As a node of the C++ framework has it, with sections that are its own.
const PORTED: &str = r#"
node: { id: 3 }
worker_mgr: { num: 0 }
io_context_mgr: { num: 1 }
timer: { ms_per_tick: 10 }
session_monitor: { timeout_tick: 10, s_per_tick: 1 }
logger: { log_file: logs/million.log, level: debug, console_level: debug }
module_mgr:
  dirs: ["./lib"]
  loads: [etcd, gateway]
etcd:
  endpoints: ["http://127.0.0.1:2379"]
  connect_timeout: 5000
  request_timeout: 3000
  heartbeat_check_interval_ms: 30000
  auth: { username: "", password: "" }
  tls: { ca_file: "", cert_file: "", key_file: "", insecure: true }
"#;

#[test]
fn the_file_of_a_ported_node_loads_as_it_is() {
    let configuration = configure(PORTED).unwrap();
    assert_eq!(configuration.framework.node_id(), 3);
    assert_eq!(configuration.framework.logger().level(), LevelFilter::DEBUG);
    let Endpoints::Remote(endpoints) = configuration.etcd.endpoints() else {
        panic!("the file names an endpoint");
    };
    assert_eq!(endpoints[0].to_string(), "http://127.0.0.1:2379");
    assert_eq!(configuration.etcd.auth(), None);
    assert_eq!(configuration.etcd.tls(), None);
}

#[derive(Debug, Deserialize, PartialEq)]
struct Modules {
    dirs: Vec<String>,
    loads: Vec<String>,
}

#[test]
fn a_section_that_nobody_here_knows_is_read_by_its_service() {
    let settings = Settings::parse(PORTED, "f.yaml").unwrap();
    let modules: Modules = settings.section("module_mgr").unwrap().unwrap();
    assert_eq!(modules.loads, ["etcd", "gateway"]);
    assert_eq!(settings.section::<Modules>("absent").unwrap(), None);
}

#[test]
fn a_section_of_a_service_that_is_wrong_is_told_with_its_line() {
    let settings = Settings::parse(
        "node: { id: 1 }\n\nmodule_mgr:\n  dirs: []\n  loads: 5\n",
        "f.yaml",
    )
    .unwrap();
    let error = settings.section::<Modules>("module_mgr").unwrap_err();
    assert!(
        matches!(&error, SettingsError::Invalid { key, .. } if key == "module_mgr.loads"),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("f.yaml:5:10: `module_mgr.loads`: "),
        "{error}"
    );
}

#[test]
fn level_names_are_read_in_any_case() {
    let settings =
        Settings::parse("logger: { level: TRACE, console_level: Off }", "f.yaml").unwrap();
    assert_eq!(settings.logger().level(), LevelFilter::TRACE);
    assert_eq!(settings.logger().console_level(), LevelFilter::OFF);
}

#[test]
fn a_file_is_loaded_from_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.yaml");
    std::fs::write(&path, PORTED).unwrap();
    assert_eq!(Settings::load(&path).unwrap().node_id(), 3);
}
