//! The law of the membership, whatever is lost on the way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn joined(user: &str, room: &str) -> Change {
    Change::Joined {
        user_id: user.into(),
        room_id: room.into(),
        user_name: String::new(),
        at: Instant::now(),
    }
}

fn left(user: &str, room: &str) -> Change {
    Change::Left {
        user_id: user.into(),
        room_id: room.into(),
    }
}

fn short(operation: &Operation) -> (bool, String, String) {
    match operation {
        Operation::Joined {
            user_id, room_id, ..
        } => (true, user_id.to_string(), room_id.to_string()),
        Operation::Left { user_id, room_id } => (false, user_id.to_string(), room_id.to_string()),
    }
}

#[test]
fn operations_of_one_user_leave_one_by_one_in_order() {
    let mut membership = Membership::default();
    for room in ["r", "s"] {
        membership.change(joined("a", room));
    }
    membership.change(joined("b", "r"));
    let first = membership.take(9);
    let told: Vec<_> = first.iter().map(short).collect();
    assert_eq!(
        told,
        [
            (true, "a".into(), "r".into()),
            (true, "b".into(), "r".into())
        ]
    );
    assert!(
        membership.take(9).is_empty(),
        "a's next waits for its first"
    );
    membership.finished(&first[0]);
    assert_eq!(short(&membership.take(9)[0]).2, "s");
}

#[test]
fn who_is_present_is_told_again_after_what_waited_to_leave() {
    let mut membership = Membership::default();
    membership.change(joined("a", "r"));
    membership.change(joined("a", "s"));
    while let [operation] = &membership.take(1)[..] {
        membership.finished(operation);
    }
    membership.change(left("a", "r"));
    membership.tell_all();
    let mut told = Vec::new();
    while let [operation] = &membership.take(1)[..] {
        told.push(short(operation));
        membership.finished(operation);
    }
    assert_eq!(
        told,
        [
            (false, "a".into(), "r".into()),
            (true, "a".into(), "s".into())
        ]
    );
}

#[test]
fn what_waits_is_bounded_by_who_is_there_and_by_a_limit_on_who_left() {
    let mut membership = Membership::default();
    for round in 0..10 * MAX_PENDING {
        membership.change(joined("a", &round.to_string()));
        membership.change(left("a", &round.to_string()));
    }
    assert!(membership.users[&Arc::<str>::from("a")].pending.len() <= MAX_PENDING);
    for user in 0..MAX_ABSENT + 10 {
        membership.change(left(&user.to_string(), "r"));
    }
    assert_eq!(membership.users.len(), MAX_ABSENT);
    assert_eq!(membership.ready.len(), MAX_ABSENT);
    assert!(membership.take_forgotten() >= 11);
}

#[derive(Clone, Debug)]
enum Step {
    Change(bool, u8, u8),
    Take(usize),
    Answer { lost: bool },
    TellAll,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<bool>(), 0..3u8, 0..3u8).prop_map(|(joins, user, room)| Step::Change(joins, user, room)),
        2 => (1..4usize).prop_map(Step::Take),
        2 => any::<bool>().prop_map(|lost| Step::Answer { lost }),
        1 => Just(Step::TellAll),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// Whatever is lost on the way, and if the Controller forgets everything, it ends up knowing exactly who is present.
    #[test]
    fn the_controller_ends_up_knowing_who_is_present(steps in steps()) {
        let mut membership = Membership::default();
        let mut truth: BTreeMap<(String, String), ()> = BTreeMap::new();
        let mut controller = truth.clone();
        let mut out: VecDeque<Operation> = VecDeque::new();
        let apply = |controller: &mut BTreeMap<_, _>, operation: &Operation| {
            let (joins, user, room) = short(operation);
            match joins {
                true => controller.insert((user, room), ()),
                false => controller.remove(&(user, room)),
            };
        };
        for step in steps {
            match step {
                Step::Change(joins, user, room) => {
                    let (user, room) = (user.to_string(), room.to_string());
                    if joins {
                        membership.change(joined(&user, &room));
                        truth.insert((user, room), ());
                    } else {
                        membership.change(left(&user, &room));
                        truth.remove(&(user, room));
                    }
                }
                Step::Take(most) => out.extend(membership.take(most)),
                Step::Answer { lost } => if let Some(operation) = out.pop_front() {
                    if lost {
                        membership.put_back(operation);
                    } else {
                        apply(&mut controller, &operation);
                        membership.finished(&operation);
                    }
                },
                Step::TellAll => membership.tell_all(),
                Step::Restart => {
                    controller.clear();
                    membership.tell_all();
                }
            }
            let mut users: Vec<_> = out.iter().map(|operation| short(operation).1).collect();
            users.sort();
            users.dedup();
            prop_assert_eq!(users.len(), out.len(), "one operation a user");
            let absent = membership.users.values()
                .filter(|person| person.present.is_empty() && !person.pending.is_empty()).count();
            prop_assert_eq!(membership.absent, absent);
        }
        loop {
            out.extend(membership.take(9));
            let Some(operation) = out.pop_front() else { break };
            apply(&mut controller, &operation);
            membership.finished(&operation);
        }
        prop_assert_eq!(&controller, &truth);
        prop_assert!(membership.users.values().all(|person| !person.present.is_empty()), "nothing is kept for those who left");
    }
}
