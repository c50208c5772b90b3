//! Random graphs of calls, under random orders, against what can be read off the graph.

use std::sync::Mutex;

use futures::future::join_all;
use million::framework::{CallError, Million, Options};
use proptest::prelude::*;

use crate::call_cycles::{Account, Next, Visit, errors};
use crate::support::LIMIT;

/// Whom each of some services calls.
type Calls = Vec<Vec<usize>>;

/// Whether anybody who is reached from `from` is reached again on the way.
fn comes_round(calls: &Calls, from: usize, way: &mut Vec<usize>) -> bool {
    if way.contains(&from) {
        return true;
    }
    way.push(from);
    let round = calls[from]
        .iter()
        .any(|next| comes_round(calls, *next, way));
    way.pop();
    round
}

async fn visit_all(
    million: &Million,
    calls: &Calls,
    together: bool,
    exclusive: &[bool],
) -> Vec<CallError> {
    let services: Vec<_> = exclusive
        .iter()
        .map(|exclusive| {
            let account = Account::new(together);
            let in_flight = if *exclusive { 1 } else { 1024 };
            million.spawn_with(Options::new().max_in_flight(in_flight), account)
        })
        .collect();
    for (service, next) in services.iter().zip(calls) {
        let next = next
            .iter()
            .map(|next| services[*next].recipient())
            .collect();
        service.call(Next(next)).await.unwrap();
    }
    let visits = services
        .iter()
        .map(|service| service.call(Visit::default()).timeout(LIMIT));
    join_all(visits)
        .await
        .into_iter()
        .flat_map(errors)
        .collect()
}

fn calls(services: usize) -> impl Strategy<Value = Calls> {
    prop::collection::vec(prop::collection::vec(0..services, 0..3), services)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nobody_hangs_and_circles_alone_are_refused(calls in calls(5), together: bool, seed: u64) {
        let seen = Mutex::new(Vec::new());
        let failure = Million::first_failure([seed], async |million| {
            // Without limits all around: whoever hangs makes the deterministic mode panic, or the visit time out.
            *seen.lock().unwrap() = visit_all(million, &calls, together, &[true; 5]).await;
        });
        prop_assert!(failure.is_none(), "{}", failure.unwrap());
        let refused = seen.into_inner().unwrap();
        let other = refused.iter().find(|error| !matches!(error, CallError::Cycle(_)));
        prop_assert!(other.is_none(), "{:?}", other);
        let round = (0..5).any(|from| comes_round(&calls, from, &mut Vec::new()));
        // Two that meet from different sides are no circle of the graph, but those that go round always are.
        if round {
            prop_assert!(!refused.is_empty());
        } else {
            prop_assert_eq!(refused, Vec::new());
        }
    }

    #[test]
    fn circles_that_somebody_in_them_can_break_are_not_refused(calls in calls(5), exclusive in prop::collection::vec(any::<bool>(), 5), seed: u64) {
        let among_exclusive: Calls = calls
            .iter()
            .enumerate()
            .map(|(from, next)| next.iter().copied().filter(|to| exclusive[from] && exclusive[*to]).collect())
            .collect();
        let round = (0..5).any(|from| comes_round(&among_exclusive, from, &mut Vec::new()));
        prop_assume!(!round);
        let seen = Mutex::new(Vec::new());
        let failure = Million::first_failure([seed], async |million| {
            *seen.lock().unwrap() = visit_all(million, &calls, false, &exclusive).await;
        });
        prop_assert!(failure.is_none(), "{}", failure.unwrap());
        let refused = seen.into_inner().unwrap();
        prop_assert!(!refused.iter().any(|error| matches!(error, CallError::Cycle(_))), "{:?}", refused);
    }
}
