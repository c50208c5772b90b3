//! Whatever the text, there is an answer.

use million::framework::settings::{Document, Settings};
use proptest::prelude::*;

use crate::configure;

/// Pieces that make up settings files, and pieces that break them.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "node",
            "worker_mgr",
            "logger",
            "etcd",
            "tls",
            "auth",
            "num",
            "id",
            "endpoints",
            "level",
            "<<",
            ": ",
            ":\n",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&a ",
            "*a",
            "!x ",
            "!!int ",
            "? ",
            "|\n",
            ">\n",
            "'",
            "\"",
            "#",
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "~",
            "0",
            "-1",
            "1e9",
            ".nan",
            "0x",
            "\t",
            "\u{feff}",
            "\0",
            "é",
        ])
        .prop_map(str::to_owned),
        "[a-z0-9 :,-]{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_taken_or_refused_and_never_panics(text in any::<String>()) {
        let _ = configure(&text);
    }

    #[test]
    fn any_yaml_like_text_is_taken_or_refused_and_never_panics(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        if let Err(error) = configure(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_number_of_workers_is_in_range_or_refused(num in any::<i64>()) {
        let settings = Settings::parse(format!("worker_mgr: {{ num: {num} }}"), "f.yaml");
        prop_assert_eq!(settings.is_ok(), (0..=1024).contains(&num));
    }

    #[test]
    fn any_override_is_taken_or_refused_and_never_panics(key in "(worker_mgr|logger|etcd)(\\.[a-z.]{0,12})?", value in any::<String>()) {
        let document = Document::default().with_override(key, value, "--flag");
        let _ = million::services::settings::Configuration::from_document(document);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("a: {}", "[".repeat(2_000));
    assert!(configure(&deep).is_err());
}

#[test]
fn a_text_that_multiplies_itself_is_refused_soon() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{inner}]\n");
    }
    assert!(configure(&text).is_err());
}
