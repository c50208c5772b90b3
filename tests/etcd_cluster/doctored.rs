//! Histories that were made wrong on purpose: each is no longer linearizable, whatever else is in it, for every value is written once.

use crate::history::{Action, Operation, Reply, Value};

/// A way to make a history wrong; `None` if it has no place for that.
type Doctor = fn(&[Operation]) -> Option<Vec<Operation>>;

/// Every way, by its name.
pub(crate) const DOCTORS: [(&str, Doctor); 5] = [
    ("a stale read", stale_read),
    ("a lost update", lost_update),
    (
        "a read of a value that was never written",
        read_of_nothing_written,
    ),
    ("two reads in the wrong order", swapped_order),
    ("a deleted value that is read", undone_delete),
];

/// A get reads what was overwritten, for certain, before it was asked.
fn stale_read(history: &[Operation]) -> Option<Vec<Operation>> {
    let (read, _, old) =
        overwritten(history).find(|(read, put, _)| put.is_before(&history[*read]))?;
    Some(answered(history, read, Reply::Found(Some(old))))
}

/// Two swaps find the same value and both put their own in its place.
fn lost_update(history: &[Operation]) -> Option<Vec<Operation>> {
    let swaps = || history.iter().enumerate();
    swaps().find_map(|(number, refused)| {
        let (Action::Swap { new, .. }, Reply::Found(_)) = (refused.action, refused.reply) else {
            return None;
        };
        let expected = swaps().find_map(|(_, done)| match (done.action, done.reply) {
            (
                Action::Swap {
                    expected: Some(value),
                    ..
                },
                Reply::Swapped,
            ) if done.key == refused.key => Some(value),
            _ => None,
        })?;
        let mut doctored = answered(history, number, Reply::Swapped);
        doctored[number].action = Action::Swap {
            expected: Some(expected),
            new,
        };
        Some(doctored)
    })
}

fn read_of_nothing_written(history: &[Operation]) -> Option<Vec<Operation>> {
    let (read, _) = reads(history).next()?;
    Some(answered(history, read, Reply::Found(Some(Value::MAX))))
}

/// Of two gets, one after the other, the first reads the newer value and the second the older.
fn swapped_order(history: &[Operation]) -> Option<Vec<Operation>> {
    overwritten(history).find_map(|(later, _, old)| {
        let (earlier, _) = reads(history).find(|&(read, value)| {
            value == old
                && history[read].key == history[later].key
                && history[read].is_before(&history[later])
        })?;
        let newer = history[later].reply;
        let doctored = answered(history, earlier, newer);
        Some(answered(&doctored, later, Reply::Found(Some(old))))
    })
}

/// A get reads what was deleted, for certain, before it was asked, and after it was written.
fn undone_delete(history: &[Operation]) -> Option<Vec<Operation>> {
    let gets = history.iter().enumerate();
    gets.filter(|(_, get)| get.action == Action::Get)
        .find_map(|(number, get)| {
            let before = |other: &&Operation| other.key == get.key && other.is_before(get);
            let mut before = history.iter().filter(before);
            let delete = before.rfind(|other| other.reply == Reply::Deleted(true))?;
            let old = history
                .iter()
                .find_map(|put| match (put.action, put.reply) {
                    (Action::Put(value), Reply::Written)
                        if put.key == get.key && put.is_before(delete) =>
                    {
                        Some(value)
                    }
                    _ => None,
                })?;
            Some(answered(history, number, Reply::Found(Some(old))))
        })
}

/// The history with another answer to one operation.
fn answered(history: &[Operation], number: usize, reply: Reply) -> Vec<Operation> {
    let mut doctored = history.to_vec();
    doctored[number].reply = reply;
    doctored
}

/// The gets that have found something, and what.
fn reads(history: &[Operation]) -> impl Iterator<Item = (usize, Value)> {
    let numbered = history.iter().enumerate();
    numbered.filter_map(
        |(number, operation)| match (operation.action, operation.reply) {
            (Action::Get, Reply::Found(Some(value))) => Some((number, value)),
            _ => None,
        },
    )
}

/// Gets, the acknowledged put of what each found, and a value that was there before that put, for certain, and not since.
fn overwritten(history: &[Operation]) -> impl Iterator<Item = (usize, &Operation, Value)> {
    reads(history).filter_map(move |(read, value)| {
        let of_key = || {
            history
                .iter()
                .filter(move |put| put.key == history[read].key && put.reply == Reply::Written)
        };
        let put = of_key().find(|put| put.action == Action::Put(value))?;
        let old = of_key().find_map(|older| match older.action {
            Action::Put(old) if older.is_before(put) => Some(old),
            _ => None,
        })?;
        Some((read, put, old))
    })
}
