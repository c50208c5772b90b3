//! What concurrent clients see while leaders fall is what one store would have told them, one operation after the other.

use std::time::Instant;

use crate::checker::{Verdict, check};
use crate::clients::Clients;
use crate::doctored::DOCTORS;
use crate::history::{Action, Operation, Reply};
use crate::house::{House, until};

/// Leaders that fall: killed, stopped and cut off from the others in turn.
const FALLEN: usize = 9;

/// Clients of each of the two services.
const CLIENTS: usize = 4;

/// Answers that must come after each fall before the next.
const ANSWERS: u64 = 500;

#[test]
fn what_clients_see_under_fallen_leaders_is_linearizable_and_doctored_it_is_not() {
    let mut house = House::new();
    // Connected to different members, so that one that answers from what it alone knows is found out.
    let etcds = [house.etcd_at(0), house.etcd_at(1)];
    let clients = Clients::start(&house, &etcds, CLIENTS);
    for round in 0..FALLEN {
        let leader = house.cluster.wait_until_healthy();
        answer(&clients, "before the leader falls");
        match round % 3 {
            0 => {
                house.cluster.kill(leader);
                house.cluster.wait_for_leader_after(leader);
                house.cluster.restart(leader);
            }
            1 => {
                house.cluster.pause(leader);
                house.cluster.wait_for_leader_after(leader);
                answer(&clients, "while the old leader stands still");
                house.cluster.resume(leader);
            }
            _ => {
                house.cluster.isolate(leader);
                house.cluster.wait_for_leader_after(leader);
                answer(&clients, "while the old leader is cut off");
                house.cluster.rejoin();
            }
        }
        answer(&clients, "after the leader fell");
        clients.next_round();
    }
    let history = clients.end(&house);
    let begun = Instant::now();
    let verdict = check(&history);
    tell(&history, verdict, begun);
    assert_eq!(verdict, Verdict::Linearizable);
    for (name, doctor) in DOCTORS {
        let doctored = doctor(&history).unwrap_or_else(|| panic!("there is no place for {name}"));
        let verdict = check(&doctored);
        println!("with {name}: {verdict:?}");
        assert!(
            matches!(verdict, Verdict::Violated(_)),
            "{name}: {verdict:?}"
        );
    }
    house.end();
}

fn answer(clients: &Clients, when: &str) {
    let before = clients.answers();
    until(&format!("clients are answered {when}"), || {
        clients.answers() >= before + ANSWERS
    });
}

fn tell(history: &[Operation], verdict: Verdict, begun: Instant) {
    let count =
        |what: fn(&Operation) -> bool| history.iter().filter(|operation| what(operation)).count();
    println!(
        "{} operations while {FALLEN} leaders fell: {} gets, {} puts, {} deletes, {} swaps of which {} were done; {} with unknown outcome: {verdict:?}, found in {:.1?}",
        history.len(),
        count(|operation| operation.action == Action::Get),
        count(|operation| matches!(operation.action, Action::Put(_))),
        count(|operation| operation.action == Action::Delete),
        count(|operation| matches!(operation.action, Action::Swap { .. })),
        count(|operation| operation.reply == Reply::Swapped),
        count(|operation| operation.reply == Reply::Unknown),
        begun.elapsed(),
    );
}
