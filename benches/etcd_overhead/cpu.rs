//! How much processor time processes have used. On two cores that all share, it tells more than rates do what something costs.

use std::fs;
use std::path::Path;

/// What the threads of a process have used that live, in microseconds; not a number where `/proc` does not tell.
pub(crate) fn used_by(process: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return f64::NAN;
    };
    let used = threads
        .flatten()
        .map(|thread| used_by_thread(&thread.path()));
    used.sum()
}

fn used_by_thread(folder: &Path) -> f64 {
    // A thread that has just ended used little since.
    let told = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|text| text.parse().ok());
    nanos.map_or(0.0, |nanos: f64| nanos / 1e3)
}
