//! Services are found by name while they live.

use million::framework::{Cx, Handler, NameTaken, Service};

use crate::support::{Done, Note, Recorder, million, run};

struct Other;
impl Service for Other {}
impl Handler<Note> for Other {
    async fn handle(_: &Cx<Self>, _: Note) {}
}

#[test]
fn a_service_is_found_under_its_name_and_type() {
    let million = million(1);
    let service = million.spawn(Recorder::default());
    million.register("ledger", &service).unwrap();
    let found = million
        .find::<Recorder>("ledger")
        .expect("it is registered");
    assert_eq!(found, service);
    assert!(million.find::<Other>("ledger").is_none());
    assert!(million.find::<Recorder>("other").is_none());
    assert_eq!(found.blocking_call(Done), Ok(Vec::new()));
}

#[test]
fn a_name_is_taken_until_its_service_closes() {
    let million = million(1);
    let first = million.spawn(Recorder::default());
    let second = million.spawn(Other);
    million.register("one", &first).unwrap();
    let taken = NameTaken {
        name: "one".to_owned(),
    };
    assert_eq!(million.register("one", &second), Err(taken));
    run(&million, first.stop());
    assert!(million.find::<Recorder>("one").is_none());
    million.register("one", &second).unwrap();
    assert!(million.find::<Other>("one").is_some());
    assert!(million.unregister("one"));
    assert!(!million.unregister("one"));
}
