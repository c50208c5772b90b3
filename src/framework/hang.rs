//! What the deterministic mode says when nothing can go on, or nothing comes to an end.

use std::time::Duration;

use super::deterministic::run_killed;
use super::services::Services;
use super::simulation::Simulation;

/// So many services are named; more would hide the first.
const NAMED: usize = 10;

/// Panics: nobody is ready, and no timer will make anybody so.
pub(crate) fn nothing_can_go_on(
    what: &str,
    services: &Services,
    simulation: &Simulation,
    limit: Duration,
) -> ! {
    let place = place(simulation);
    let tasks = simulation.tasks();
    let alive = alive(services, simulation);
    panic!(
        "nothing can go on {place}: {what} waits, nothing is ready, and no timer is set for the next {days} days. {alive} IO \
         futures that have not ended: {tasks}. Look for a reply, a permit or a message that never comes",
        days = limit.as_secs() / (24 * 3600),
    );
}

/// Panics: it goes on and on.
pub(crate) fn too_many_steps(what: &str, services: &Services, simulation: &Simulation) -> ! {
    let place = place(simulation);
    let steps = simulation.most_steps();
    let alive = alive(services, simulation);
    panic!(
        "no end in sight {place}: {what} has waited for {steps} steps. {alive} Look for a loop that never sleeps, for time stands still \
         while anything is ready, and for a reply, a permit or a message that never comes beside a periodic one that always does; if the test \
         is only long, raise Builder::most_steps"
    );
}

fn place(simulation: &Simulation) -> String {
    format!(
        "(seed {}, virtual time {:?}, step {})",
        simulation.seed(),
        simulation.elapsed(),
        simulation.steps()
    )
}

/// Who is alive and what waits there. A service shows what it holds only when it ends, so this kills them all: the
/// simulation is at its end anyway.
fn alive(services: &Services, simulation: &Simulation) -> String {
    let mut alive = services.close();
    let count = alive.len();
    let mut seen = services.dropped();
    let mut busy = Vec::new();
    services.kill_all();
    // Killed one after the other they could still talk to each other; killed together each only ends. A turn ends one of
    // them, so what the sums grow by in a turn is that one's.
    run_killed(simulation, || {
        let dropped = services.dropped();
        let handlers = dropped.handlers - seen.handlers;
        let messages = dropped.messages - seen.messages;
        seen = dropped;
        let ended = alive
            .extract_if(.., |service| service.exit().reason().is_some())
            .next();
        if let Some(ended) = ended
            && (handlers > 0 || messages > 0)
        {
            let name = ended.name();
            busy.push(format!(
                "{name}: handlers that wait {handlers}, messages not started {messages}"
            ));
        }
    });
    let quiet = count - busy.len();
    let unnamed = busy.len().saturating_sub(NAMED);
    busy.truncate(NAMED);
    if unnamed > 0 {
        busy.push(format!("and so on in {unnamed} more"));
    }
    if quiet > 0 {
        busy.push(format!("{quiet} have nothing to do"));
    }
    if busy.is_empty() {
        busy.push("none".to_owned());
    }
    format!("Services alive: {count} ({}).", busy.join("; "))
}
