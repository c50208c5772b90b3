//! `ARCHITECTURE.md` is true of the files: each has its place in the map, and those with unsafe code are named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The part of the page under a heading, up to the next of its kind.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let begin = page.find(heading).expect("the page has the heading");
    let part = &page[begin + heading.len()..];
    let mark = heading.split_whitespace().next().expect("a heading");
    let end = part.find(&format!("\n{mark} "));
    &part[..end.unwrap_or(part.len())]
}

/// What stands between backticks.
fn code(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page can be read")
}

/// The files under `folder`, without those of the folders in `except`, relative to it.
fn files(folder: &str, except: &[&str]) -> Vec<String> {
    let folder = root().join(folder);
    let mut found = Vec::new();
    collect(&folder, &mut found);
    let names = found.iter().map(|file| {
        let name = file.strip_prefix(&folder).expect("it is under the folder");
        name.to_str().expect("names are text").replace('\\', "/")
    });
    let mut names: Vec<_> = names
        .filter(|name| !except.iter().any(|except| name.starts_with(except)))
        .collect();
    names.sort_unstable();
    assert!(!names.is_empty(), "nothing is in {}", folder.display());
    names
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        match path.is_dir() {
            true => collect(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn every_file_has_its_place_in_the_map() {
    let page = page();
    let services = section(&page, "## The services and the program, file by file");
    let services_of = |folder: &str| {
        let begin = services.find(&format!("in `{folder}`:"));
        let part = &services[begin.expect("the folder has a table")..];
        let end = part.find("\n\n|").expect("the table follows") + 2;
        part[end..].split("\n\n").next().expect("a table")
    };
    let etcd = section(&page, "## The etcd service, file by file");
    let embedded = section(&page, "## The embedded etcd, file by file");
    let framework = section(&page, "## The framework, file by file");
    let shared = [
        "push_manager/",
        "connect_node/",
        "controller/",
        "generated/",
    ];
    let folders: [(&str, &[&str], &str); 8] = [
        ("src/framework/", &[], framework),
        ("src/etcd_service/", &["embedded/"], etcd),
        ("src/etcd_service/embedded/", &["generated/"], embedded),
        ("src/services/", &shared, services_of("src/services/")),
        (
            "src/services/push_manager/",
            &[],
            services_of("src/services/push_manager/"),
        ),
        (
            "src/services/connect_node/",
            &[],
            services_of("src/services/connect_node/"),
        ),
        (
            "src/services/controller/",
            &[],
            services_of("src/services/controller/"),
        ),
        ("src/cli/", &[], services_of("src/cli/")),
    ];
    for (folder, except, tables) in folders {
        let rows = tables.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.filter_map(|row| row.split(" | ").next());
        let mut told = BTreeSet::new();
        for file in cells.flat_map(code) {
            assert!(told.insert(file), "{file} of {folder} has two rows");
        }
        let files = files(folder, except);
        let there: BTreeSet<_> = files.iter().map(String::as_str).collect();
        let missing: Vec<_> = there.difference(&told).collect();
        let gone: Vec<_> = told.difference(&there).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "in the tables of {folder}, files without a row: {missing:?}, rows without a file: {gone:?}"
        );
    }
}

#[test]
fn the_files_with_unsafe_code_are_those_that_are_named() {
    let page = page();
    let sentence = page.split("- **Unsafe code** is in ").nth(1);
    let sentence = sentence.and_then(|rest| rest.split("; it is denied").next());
    let told = code(sentence.expect("the page has the sentence"));
    let files = files("src/", &[]);
    let code = files.iter().filter(|file| file.ends_with(".rs"));
    let with_unsafe = code.filter(|file| {
        let text = fs::read_to_string(root().join("src").join(file));
        has_unsafe_code(&text.expect("the file can be read"))
    });
    // The sentence names them as they stand in the framework; elsewhere there is none.
    let found: BTreeSet<_> = with_unsafe
        .map(|file| file.strip_prefix("framework/").unwrap_or(file))
        .collect();
    assert_eq!(found, told);
}

/// Whether code is unsafe in it, whoever allowed that.
fn has_unsafe_code(text: &str) -> bool {
    let begins = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe trait ",
        "unsafe extern ",
    ];
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| begins.iter().any(|begin| line.contains(begin)))
}
