//! The file, the environment and the flags, one above the other.

use million::etcd_service::settings::Endpoints;
use million::framework::settings::{Place, SettingsError};
use million::services::settings::Configuration;

fn env<'a>(values: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |wanted| {
        values
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| (*value).to_owned())
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn the_environment_stands_above_the_file() {
    let file = file(
        "push_manager: { id: from-file, listen: '0.0.0.0:1', node_queue: 7 }\netcd: { endpoints: [a:1, b:2] }\n",
    );
    let configuration = Configuration::load(
        Some(file.path()),
        env(&[
            ("MANAGER_ID", "007"),
            ("GRPC_PORT", "50060"),
            ("METRICS_PORT", "9100"),
            ("CONTROLLER_ADDRESS", "controller:50051"),
            ("ETCD_ENDPOINTS", "x:2379,y:2379"),
        ]),
    )
    .unwrap();

    let push_manager = &configuration.push_manager;
    assert_eq!(push_manager.id(), "007");
    assert_eq!(push_manager.listen().to_string(), "0.0.0.0:50060");
    assert_eq!(push_manager.metrics_listen().to_string(), "127.0.0.1:9100");
    assert_eq!(push_manager.controller_address().host(), "controller");
    assert_eq!(push_manager.node_queue(), 7);
    assert_eq!(
        configuration.connect_node.controller_address().host(),
        "controller"
    );
    let Endpoints::Remote(endpoints) = configuration.etcd.endpoints() else {
        panic!("the environment names endpoints");
    };
    assert_eq!(endpoints[1].to_string(), "http://y:2379");
}

#[test]
fn flags_stand_above_the_environment() {
    let file = file("");
    let document =
        Configuration::document(Some(file.path()), env(&[("GRPC_PORT", "50060")])).unwrap();
    let configuration = Configuration::from_document(document.with_override(
        "push_manager.listen",
        "127.0.0.1:0",
        "--listen",
    ))
    .unwrap();
    assert_eq!(configuration.push_manager.listen().port(), 0);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let file = file("");
    let configuration = Configuration::load(
        Some(file.path()),
        env(&[("GRPC_PORT", ""), ("ETCD_ENDPOINTS", "")]),
    )
    .unwrap();
    assert_eq!(configuration.push_manager.listen().port(), 50053);
    assert_eq!(*configuration.etcd.endpoints(), Endpoints::Embedded);
}

#[test]
fn config_file_names_the_file_and_the_flag_stands_above_it() {
    let (first, second) = (file("node: { id: 1 }"), file("node: { id: 2 }"));
    let values = [("CONFIG_FILE", first.path().to_str().unwrap())];
    assert_eq!(
        Configuration::load(None, env(&values))
            .unwrap()
            .framework
            .node_id(),
        1
    );
    assert_eq!(
        Configuration::load(Some(second.path()), env(&values))
            .unwrap()
            .framework
            .node_id(),
        2
    );
}

#[test]
fn a_file_that_is_named_must_exist() {
    let error = Configuration::load(None, env(&[("CONFIG_FILE", "no/such.yaml")])).unwrap_err();
    assert!(
        matches!(error, SettingsError::Unreadable { .. }),
        "{error:?}"
    );
    assert!(Configuration::load(Some("no/such.yaml".as_ref()), env(&[])).is_err());
}

#[test]
fn an_error_of_the_environment_names_the_variable() {
    let file = file("");
    for (name, value) in [
        ("MANAGER_ID", "a b"),
        ("GRPC_PORT", "abc"),
        ("GRPC_PORT", "65536"),
        ("METRICS_PORT", "-1"),
        ("CONTROLLER_ADDRESS", "nowhere"),
        ("ETCD_ENDPOINTS", "https://a:2379"),
    ] {
        let error = Configuration::load(Some(file.path()), env(&[(name, value)])).unwrap_err();
        let SettingsError::Invalid {
            place: Place::Override { source },
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(*source, format!("environment variable {name}"));
        assert!(
            error
                .to_string()
                .starts_with(&format!("environment variable {name}: ")),
            "{error}"
        );
    }
}
