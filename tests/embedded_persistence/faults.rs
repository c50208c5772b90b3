//! A disk without room, a folder in use, a file that is damaged.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use etcd_client::{Client, WatchOptions};
use million::etcd_service::embedded::{self, EmbeddedError, EmbeddedOptions};

use crate::process::Process;
use crate::{connect, in_time, refusal, start};

const NO_ROOM: &str = "ResourceExhausted: etcdserver: mvcc: database space exceeded";
const UNKNOWN: &str = "Unavailable: etcdserver: request timed out";

async fn open(folder: &Path) -> Result<embedded::EmbeddedEtcd, EmbeddedError> {
    let options = EmbeddedOptions::default().data_dir(folder);
    in_time(embedded::start_with(([127, 0, 0, 1], 0).into(), options)).await
}

/// The largest file that the process may write, from now on.
fn limit_files(process: &Process, limit: &str) {
    let set = Command::new("prlimit")
        .args(["--pid", &process.id().to_string()])
        .arg(format!("--fsize={limit}:unlimited"))
        .status()
        .expect("prlimit can be run: it is part of util-linux");
    assert!(set.success());
}

async fn put(client: &mut Client, key: &str) -> Result<(), String> {
    let value = vec![b'x'; 10_000];
    let put = in_time(client.put(key, value, None)).await;
    put.map(drop).map_err(refusal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_nothing_is_acknowledged_nor_told_and_with_room_it_goes_on() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (mut process, address) = start(folder.path(), &[]);
    let mut client = connect(&address).await;
    put(&mut client, "before").await.expect("there is room");
    let mut stream = client
        .watch("full", Some(WatchOptions::new()))
        .await
        .expect("it can be watched");
    in_time(stream.message()).await.expect("it is created");

    limit_files(&process, "15000");
    // What is in the middle of it may have been written, as far as anybody knows.
    assert_eq!(put(&mut client, "full").await, Err(UNKNOWN.to_owned()));
    process.line_with("cannot write");
    assert_eq!(put(&mut client, "other").await, Err(NO_ROOM.to_owned()));
    let read = in_time(client.get("full", None))
        .await
        .map(drop)
        .map_err(refusal);
    assert_eq!(
        read,
        Err(UNKNOWN.to_owned()),
        "a read would tell what may be lost"
    );
    let event = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(
        event.is_err(),
        "an event would tell what may be lost: {event:?}"
    );

    limit_files(&process, "unlimited");
    let event = in_time(stream.message()).await.expect("it goes on");
    assert_eq!(event.expect("it goes on").events().len(), 1);
    process.line_with("can write again");
    put(&mut client, "after").await.expect("there is room");
    drop(process);

    let (_process, address) = start(folder.path(), &[]);
    let mut client = connect(&address).await;
    for (key, count) in [("before", 1), ("full", 1), ("other", 0), ("after", 1)] {
        let found = client.get(key, None).await.expect("it answers");
        assert_eq!(found.count(), count, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_without_room_leaves_what_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (process, address) = start(folder.path(), &[]);
    let mut client = connect(&address).await;
    put(&mut client, "before").await.expect("there is room");
    limit_files(&process, "15000");
    put(&mut client, "full")
        .await
        .expect_err("there is no room");
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.text());
    assert!(ended.text().contains("are lost"), "{}", ended.text());

    // The part of the batch that had room is cut away.
    let (mut process, address) = start(folder.path(), &[]);
    process.line_with("was ended while it wrote");
    let mut client = connect(&address).await;
    for (key, count) in [("before", 1), ("full", 0)] {
        let found = client.get(key, None).await.expect("it answers");
        assert_eq!(found.count(), count, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (process, _) = start(folder.path(), &[]);
    let error = open(folder.path()).await.expect_err("it is in use");
    assert!(matches!(&error, EmbeddedError::DataDirInUse { path } if path == folder.path()));
    assert!(error.to_string().contains("name another folder"), "{error}");
    drop(process);
    let etcd = open(folder.path()).await.expect("it is free");
    in_time(etcd.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_damaged_in_the_middle_is_an_error_that_names_the_place_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("etcd.log");
    let etcd = open(folder.path()).await.expect("the folder is empty");
    let mut client = connect(&etcd.endpoint()).await;
    let mut ends = Vec::new();
    for key in ["a", "b", "c"] {
        client.put(key, "some value", None).await.expect("it fits");
        ends.push(fs::metadata(&file).expect("it is there").len());
    }
    in_time(etcd.stop()).await;

    let mut bytes = fs::read(&file).expect("it is there");
    bytes[ends[0] as usize + 20] ^= 1;
    fs::write(&file, &bytes).expect("it can be written");
    let error = open(folder.path()).await.expect_err("it is damaged");
    let text = error.to_string();
    let EmbeddedError::DamagedData {
        file: named,
        offset,
    } = error
    else {
        panic!("{text}");
    };
    assert_eq!((named, offset), (file.clone(), ends[0]));
    assert!(
        text.contains(&format!("truncate --size={}", ends[0])),
        "{text}"
    );
    assert_eq!(fs::read(&file).expect("it is there"), bytes);

    // What the error says to do.
    fs::write(&file, &bytes[..ends[0] as usize]).expect("it can be written");
    let etcd = open(folder.path()).await.expect("it was cut");
    let mut client = connect(&etcd.endpoint()).await;
    let all = etcd_client::GetOptions::new().with_all_keys();
    let found = client.get(vec![0], Some(all)).await.expect("it answers");
    assert_eq!(found.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_something_else_and_a_folder_that_is_none_are_errors_that_name_them() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("etcd.log");
    fs::write(&file, "2026-01-01 something was logged\n").expect("it can be written");
    let error = open(folder.path()).await.expect_err("it is something else");
    assert!(matches!(&error, EmbeddedError::ForeignData { file: named, .. } if *named == file));
    let error = open(&file).await.expect_err("it is a file");
    assert!(
        matches!(&error, EmbeddedError::DataDir { path, .. } if *path == file),
        "{error:?}"
    );
}
