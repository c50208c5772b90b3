//! The section `etcd`: endpoints in all their forms, logins and TLS.

use std::path::Path;

use million::etcd_service::settings::Endpoints;
use million::framework::settings::Document;

use crate::{configure, refusal};

fn endpoints(text: &str) -> Vec<String> {
    match configure(text).unwrap().etcd.endpoints() {
        Endpoints::Embedded => vec!["embedded".to_owned()],
        Endpoints::Remote(endpoints) => endpoints.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn endpoints_are_a_list_or_a_text_or_a_text_with_commas() {
    let both = ["http://a:2379", "http://b:2380"];
    assert_eq!(
        endpoints("etcd: { endpoints: [a:2379, 'http://b:2380/'] }"),
        both
    );
    assert_eq!(
        endpoints("etcd: { endpoints: 'a:2379, http://b:2380,' }"),
        both
    );
    assert_eq!(endpoints("etcd: { endpoints: ['a:2379,b:2380'] }"), both);
    assert_eq!(
        endpoints("etcd: { endpoints: '[::1]:2379' }"),
        ["http://[::1]:2379"]
    );
    assert_eq!(endpoints("etcd: { endpoints: embedded }"), ["embedded"]);
    assert_eq!(endpoints("etcd: { endpoints: [embedded] }"), ["embedded"]);
}

#[test]
fn endpoints_that_are_none_are_refused() {
    for value in [
        "''",
        "[]",
        "a",
        "'http://a'",
        "'ftp://a:1'",
        "a:0",
        "[a:1, embedded]",
        "'http://a:1/path'",
        "'a:1, b'",
    ] {
        let message = refusal(&format!("etcd:\n  endpoints: {value}\n"));
        assert!(
            message.starts_with("f.yaml:2:3: `etcd.endpoints`: "),
            "{message}"
        );
    }
    let message = refusal("etcd:\n  request_timeout: 1\n  endpoints: 2379\n");
    assert_eq!(
        message,
        "f.yaml:3:14: `etcd.endpoints`: invalid type: integer `2379`, expected host:port, a list of those, or embedded"
    );
}

#[test]
fn tls_and_the_endpoints_must_agree() {
    let message = refusal("etcd:\n  endpoints: https://a:2379\n");
    assert!(message.contains("write insecure: false"), "{message}");
    let message = refusal("etcd:\n  endpoints: http://a:2379\n  tls: { insecure: false }\n");
    assert!(message.contains("write https:// here"), "{message}");
    assert_eq!(
        endpoints("etcd: { endpoints: ['a:1', 'https://b:2'], tls: { insecure: false } }"),
        ["https://a:1", "https://b:2"]
    );
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let tls =
        |files: &str| format!("etcd:\n  endpoints: a:1\n  tls: {{ insecure: false, {files} }}\n");
    assert!(refusal(&tls("cert_file: c.pem")).contains("`etcd.tls.cert_file`: needs its key"));
    assert!(
        refusal(&tls("key_file: k.pem")).contains("`etcd.tls.key_file`: needs its certificate")
    );

    let configuration =
        configure(&tls("ca_file: ca.pem, cert_file: c.pem, key_file: k.pem")).unwrap();
    let tls = configuration.etcd.tls().unwrap();
    assert_eq!(tls.ca_file(), Some(Path::new("ca.pem")));
    assert_eq!(
        tls.identity(),
        Some((Path::new("c.pem"), Path::new("k.pem")))
    );
}

#[test]
fn a_user_and_the_password_come_together() {
    assert!(refusal("etcd: { auth: { username: root } }").contains("`etcd.auth.password`"));
    assert!(refusal("etcd: { auth: { password: x } }").contains("`etcd.auth.username`"));
    assert_eq!(
        configure("etcd: { auth: { username: ~, password: } }")
            .unwrap()
            .etcd
            .auth(),
        None
    );

    // A number that stands for a text keeps its digits.
    let configuration = configure("etcd: { auth: { username: root, password: 0123 } }").unwrap();
    let auth = configuration.etcd.auth().unwrap();
    assert_eq!((auth.username(), auth.password()), ("root", "0123"));
}

#[test]
fn a_password_is_shown_nowhere() {
    let secret = "hunter-2";
    let configuration = configure(&format!(
        "etcd: {{ auth: {{ username: root, password: {secret} }} }}"
    ))
    .unwrap();
    assert!(!format!("{configuration:?}").contains(secret));
    let document = Document::default().with_override("etcd.auth.password", secret, "--password");
    assert!(!format!("{document:?}").contains(secret));

    for text in [
        format!("etcd: {{ auth: {secret} }}"),
        format!("etcd: {{ auth: {{ username: root, password: [{secret}] }} }}"),
        format!("etcd: {{ endpoints: 'http://root:{secret}@a:2379' }}"),
        format!("etcd: {{ endpoints: 'http://root:{secret},more@a:2379' }}"),
        format!("etcd: {{ endpoints: [a:2379, 'root:{secret}', 'more@b:2379'] }}"),
    ] {
        let error = configure(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn the_embedded_server_is_in_memory_unless_a_folder_is_named() {
    let options = |text: &str| format!("{:?}", configure(text).unwrap().etcd.embedded_options());
    assert!(options("etcd: {}").contains("data_dir: None, fsync: true"));
    assert!(
        options("etcd: { embedded: { data_dir: data/etcd, fsync: false } }")
            .contains("data_dir: Some(\"data/etcd\"), fsync: false")
    );
    let message = refusal("etcd:\n  embedded: { folder: x }\n");
    assert_eq!(
        message,
        "f.yaml:2:15: unknown key `etcd.embedded.folder`; the keys known here are data_dir, fsync"
    );
}

#[test]
fn the_root_of_the_configuration_ends_with_a_slash() {
    let root = |text| configure(text).unwrap().etcd.config_root().to_owned();
    assert_eq!(root("{}"), "/config/");
    assert_eq!(
        root("etcd: { config_root: /shop/settings/ }"),
        "/shop/settings/"
    );
    assert_eq!(
        refusal("etcd:\n  config_root: /shop\n"),
        "f.yaml:2:3: `etcd.config_root`: `/shop` does not end with a slash; write `/shop/`"
    );
}
