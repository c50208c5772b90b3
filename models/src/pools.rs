//! Workers, their queues, parking and stealing. In a model no time passes, so nothing here can lean on the watcher's clock.

use std::sync::Arc;

use crate::loom::sync::atomic::{AtomicUsize, Ordering};
use crate::loom::thread;

use crate::framework::tools::Tools;
use crate::framework::worker::{Pool, Run};
use crate::model;

/// Counts its turns; schedules others in its first.
struct Task {
    turns: AtomicUsize,
    wanted: usize,
    pool: Arc<Pool>,
    then: Vec<Arc<Task>>,
    all: Arc<AtomicUsize>,
}

impl Task {
    fn new(
        pool: &Arc<Pool>,
        all: &Arc<AtomicUsize>,
        wanted: usize,
        then: Vec<Arc<Task>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            turns: AtomicUsize::new(0),
            wanted,
            pool: pool.clone(),
            then,
            all: all.clone(),
        })
    }
}

impl Run for Task {
    fn run(self: Arc<Self>, _: &mut Tools) -> Option<Arc<dyn Run>> {
        let turn = self.turns.fetch_add(1, Ordering::AcqRel) + 1;
        if turn == 1 {
            for task in &self.then {
                self.pool.schedule(task.clone());
            }
        }
        if turn < self.wanted {
            return Some(self);
        }
        self.all.fetch_add(1, Ordering::AcqRel);
        None
    }
}

/// Runs workers until `all` tasks have had their turns.
fn run(pool: &Arc<Pool>, workers: usize, all: &AtomicUsize, wanted: usize) {
    let threads: Vec<_> = (0..workers)
        .map(|index| {
            let pool = pool.clone();
            thread::spawn(move || pool.work(index))
        })
        .collect();
    while all.load(Ordering::Acquire) < wanted {
        thread::yield_now();
    }
    pool.close();
    for thread in threads {
        thread.join().unwrap();
    }
    pool.clear();
}

#[test]
fn a_task_from_outside_is_run_however_the_worker_parks() {
    model(3, || {
        let pool = Arc::new(Pool::new(1));
        let all = Arc::new(AtomicUsize::new(0));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.work(0))
        };
        pool.schedule(Task::new(&pool, &all, 2, Vec::new()));
        while all.load(Ordering::Acquire) < 1 {
            thread::yield_now();
        }
        pool.close();
        worker.join().unwrap();
    });
}

#[test]
fn tasks_that_a_worker_schedules_are_all_run() {
    model(2, || {
        let pool = Arc::new(Pool::new(2));
        let all = Arc::new(AtomicUsize::new(0));
        let children = (0..2)
            .map(|_| Task::new(&pool, &all, 1, Vec::new()))
            .collect();
        pool.schedule(Task::new(&pool, &all, 1, children));
        run(&pool, 2, &all, 3);
    });
}

#[test]
fn two_from_outside_against_two_workers_that_park() {
    model(1, || {
        let pool = Arc::new(Pool::new(2));
        let all = Arc::new(AtomicUsize::new(0));
        let outside = {
            let (pool, all) = (pool.clone(), all.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    pool.schedule(Task::new(&pool, &all, 1, Vec::new()));
                }
            })
        };
        run(&pool, 2, &all, 2);
        outside.join().unwrap();
    });
}

#[test]
fn a_pool_that_is_closed_lets_every_worker_go() {
    model(3, || {
        let pool = Arc::new(Pool::new(2));
        let workers = [0, 1].map(|index| {
            let pool = pool.clone();
            thread::spawn(move || pool.work(index))
        });
        pool.close();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// A killed service that whoever woke it comes to schedule only while the pool is closed, and after.
#[test]
fn a_task_that_is_scheduled_while_the_pool_is_closed_has_its_turn() {
    model(3, || {
        let pool = Arc::new(Pool::new(1));
        let all = Arc::new(AtomicUsize::new(0));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.work(0))
        };
        let outside = {
            let (pool, all) = (pool.clone(), all.clone());
            thread::spawn(move || pool.schedule(Task::new(&pool, &all, 1, Vec::new())))
        };
        pool.close();
        worker.join().unwrap();
        pool.clear();
        outside.join().unwrap();
        assert_eq!(all.load(Ordering::Acquire), 1);
    });
}
