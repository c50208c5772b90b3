//! What it means that a request brought no answer: whether the server can have acted on it.

use std::error::Error;
use std::fmt;

use h2::Reason;
use tonic::ConnectError;

use super::channel::{BoxError, Fate};

/// A stream that could not be opened: the connection takes none any more.
pub(super) fn not_opened(error: h2::Error, fate: &Fate) -> BoxError {
    fate.end();
    never_acted_on(why(error, fate))
}

/// A stream that broke.
pub(super) fn broken(error: h2::Error, fate: &Fate) -> BoxError {
    let going_away = error.is_remote() && error.is_go_away();
    if going_away {
        fate.end();
    }
    // A server that goes away names the last stream on which it acts, and only later ones hear of it in this way.
    let refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    let why = why(error, fate);
    if going_away || refused {
        never_acted_on(why)
    } else {
        Box::new(Broken(why))
    }
}

/// An answer that broke: whoever has begun to answer has acted.
pub(super) fn cut_short(error: h2::Error, fate: &Fate) -> BoxError {
    if error.is_remote() && error.is_go_away() {
        fate.end();
    }
    Box::new(Broken(why(error, fate)))
}

/// The error that says so throughout this crate.
fn never_acted_on(why: BoxError) -> BoxError {
    Box::new(ConnectError(why))
}

fn why(error: h2::Error, fate: &Fate) -> BoxError {
    match fate.silent() {
        Some(silent) => Box::new(silent),
        None => Box::new(error),
    }
}

/// A request was out, or an answer under way. In a type of this crate, for tonic takes the codes of HTTP/2 for answers of the
/// server.
#[derive(Debug)]
struct Broken(BoxError);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection broke")
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
