//! The checker against one that tries every order of every choice, on histories small enough for that.

use proptest::prelude::*;

use crate::checker::{State, Verdict, after, check};
use crate::history::{Action, Operation, Reply, Value};

/// Orders grow with the factorial.
const MOST_OPERATIONS: usize = 6;

/// Whether some order of some of the operations, all that have an answer among them, is right: by the definition and by nothing
/// cleverer.
fn has_an_order(history: &[Operation]) -> bool {
    let unknown: Vec<usize> = (0..history.len())
        .filter(|&number| history[number].reply == Reply::Unknown)
        .collect();
    (0..1u32 << unknown.len()).any(|choice| {
        let left_out: Vec<usize> = unknown
            .iter()
            .enumerate()
            .filter(|(bit, _)| choice & (1 << bit) == 0)
            .map(|(_, &number)| number)
            .collect();
        let mut order: Vec<usize> = (0..history.len())
            .filter(|number| !left_out.contains(number))
            .collect();
        let count = order.len();
        any_permutation(&mut order, count, &|order| is_right(history, order))
    })
}

/// Whether any permutation of the first `count` passes, the rest staying where it is.
fn any_permutation(
    order: &mut Vec<usize>,
    count: usize,
    passes: &impl Fn(&[usize]) -> bool,
) -> bool {
    if count <= 1 {
        return passes(order);
    }
    (0..count).any(|chosen| {
        order.swap(chosen, count - 1);
        let passed = any_permutation(order, count - 1, passes);
        order.swap(chosen, count - 1);
        passed
    })
}

fn is_right(history: &[Operation], order: &[usize]) -> bool {
    let in_time = order.iter().enumerate().all(|(place, &early)| {
        let later = &order[place + 1..];
        later
            .iter()
            .all(|&late| !history[late].is_before(&history[early]))
    });
    let mut state: State = None;
    in_time
        && order
            .iter()
            .all(|&number| match after(state, &history[number]) {
                Some(then) => {
                    state = then;
                    true
                }
                None => false,
            })
}

/// Few values, so that answers are right now and then by accident.
fn value() -> impl Strategy<Value = Value> {
    0..3u64
}

fn anything() -> impl Strategy<Value = (Action, Reply)> {
    let state = || proptest::option::of(value());
    prop_oneof![
        4 => state().prop_map(|found| (Action::Get, Reply::Found(found))),
        3 => value().prop_map(|value| (Action::Put(value), Reply::Written)),
        1 => value().prop_map(|value| (Action::Put(value), Reply::Unknown)),
        1 => any::<bool>().prop_map(|deleted| (Action::Delete, Reply::Deleted(deleted))),
        1 => Just((Action::Delete, Reply::Unknown)),
        2 => (state(), value()).prop_map(|(expected, new)| (Action::Swap { expected, new }, Reply::Swapped)),
        1 => (state(), value(), state()).prop_map(|(expected, new, found)| {
            (Action::Swap { expected, new }, Reply::Found(found))
        }),
        1 => (state(), value()).prop_map(|(expected, new)| (Action::Swap { expected, new }, Reply::Unknown)),
    ]
}

/// Operations at any times, with any answers.
fn any_history() -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec(anything(), 1..=MOST_OPERATIONS).prop_flat_map(|operations| {
        let times: Vec<u64> = (0..2 * operations.len() as u64).collect();
        (Just(operations), Just(times).prop_shuffle()).prop_map(|(operations, times)| {
            let timed = operations.into_iter().zip(times.chunks_exact(2));
            timed
                .map(|((action, reply), times)| Operation {
                    key: 0,
                    action,
                    reply,
                    called: times[0].min(times[1]),
                    returned: times[0].max(times[1]),
                })
                .collect()
        })
    })
}

/// Operations as a store that does one after the other answers them, each asked up to some steps before and answered up to some steps after it
/// was done; some answers are lost. Every such history is linearizable.
fn honest_history(most: usize) -> impl Strategy<Value = Vec<Operation>> {
    let step = (anything(), 0..6u64, 0..6u64, 0..5u8);
    proptest::collection::vec(step, 1..=most).prop_map(|steps| {
        let mut state: State = None;
        let honest = steps.into_iter().enumerate();
        honest
            .map(|(number, ((action, _), early, late, fate))| {
                let found = state;
                let reply = match action {
                    Action::Get => Reply::Found(found),
                    Action::Put(_) => Reply::Written,
                    Action::Delete => Reply::Deleted(found.is_some()),
                    Action::Swap { expected, .. } if expected == found => Reply::Swapped,
                    Action::Swap { .. } => Reply::Found(found),
                };
                let lost = fate == 0 && action != Action::Get;
                let never_done = lost && late == 0;
                let mut operation = Operation {
                    key: 0,
                    action,
                    reply,
                    // Each takes effect in the middle of a step of 8, in which questions come first and answers last.
                    called: 8 * (number as u64).saturating_sub(early),
                    returned: 8 * (number as u64 + late) + 7,
                };
                if !never_done {
                    state = after(state, &operation).expect("the answer was made right");
                }
                if lost {
                    operation.reply = Reply::Unknown;
                }
                operation
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_checker_finds_what_trying_everything_finds(history in any_history()) {
        let found = check(&history) == Verdict::Linearizable;
        prop_assert_eq!(found, has_an_order(&history));
    }

    #[test]
    fn so_it_does_for_histories_with_one_wrong_answer(
        history in honest_history(MOST_OPERATIONS),
        place in any::<prop::sample::Index>(),
        (action, reply) in anything(),
    ) {
        let mut history = history;
        let wrong = place.index(history.len());
        (history[wrong].action, history[wrong].reply) = (action, reply);
        let found = check(&history) == Verdict::Linearizable;
        prop_assert_eq!(found, has_an_order(&history));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_an_honest_store_answers_is_linearizable(history in honest_history(60)) {
        prop_assert_eq!(check(&history), Verdict::Linearizable);
    }
}

/// The strategies must make both kinds, or the comparison shows nothing.
#[test]
fn the_compared_histories_are_of_both_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let strategy = any_history();
    let mut kinds = [0, 0];
    for _ in 0..2000 {
        let history = strategy
            .new_tree(&mut runner)
            .expect("it makes histories")
            .current();
        let linearizable = check(&history) == Verdict::Linearizable;
        kinds[usize::from(linearizable && history.len() > 2)] += 1;
    }
    assert!(kinds.iter().all(|&count| count > 100), "{kinds:?}");
}
