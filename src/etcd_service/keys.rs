//! Which keys a request is about, and how that is said on the wire.

/// Which keys a request is about.
///
/// ```
/// use million::etcd_service::{Delete, Keys, List};
///
/// let shelf = Keys::Range { from: b"books/a".to_vec(), to: b"books/n".to_vec() };
/// let list = List::keys(shelf.clone());
/// let clear = Delete::keys(shelf);
/// # drop((list, clear));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keys {
    /// This key alone.
    One(Vec<u8>),
    /// Every key that begins with these bytes; with none, every key there is.
    Prefix(Vec<u8>),
    /// Every key from `from` on and before `to`, in the order of bytes.
    Range {
        /// The first key that may be among them.
        from: Vec<u8>,
        /// The first key after them. A range that ends before it begins, or where it begins, is refused.
        to: Vec<u8>,
    },
    /// Every key from this one on.
    From(Vec<u8>),
}

/// The smallest key there can be. As the end of a range the wire format reads it as "to the last".
const FIRST_KEY: &[u8] = &[0];

impl Keys {
    /// What the wire format has for it: a key, and an end that is empty for a single key.
    ///
    /// # Errors
    ///
    /// The range holds nothing. Sent as it is, some such ranges would read as "to the last".
    pub(super) fn bounds(&self) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        Ok(match self {
            Self::One(key) => (key.clone(), Vec::new()),
            Self::Prefix(prefix) => (or_first(prefix), end_of_prefix(prefix)),
            Self::Range { from, to } => {
                let from = or_first(from);
                if *to <= from {
                    return Err("the range ends before it begins, so it can hold no key");
                }
                (from, to.clone())
            }
            Self::From(key) => (or_first(key), FIRST_KEY.to_vec()),
        })
    }

    /// What errors name.
    pub(super) fn subject(&self) -> &[u8] {
        match self {
            Self::One(key) | Self::Prefix(key) | Self::From(key) => key,
            Self::Range { from, .. } => from,
        }
    }
}

fn or_first(key: &[u8]) -> Vec<u8> {
    if key.is_empty() { FIRST_KEY } else { key }.to_vec()
}

/// The first key after all with that prefix; `\0`, which stands for "to the last", if there is none.
pub(super) fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    FIRST_KEY.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_without_it() {
        let end = |prefix: &[u8]| Keys::Prefix(prefix.to_vec()).bounds().unwrap().1;
        assert_eq!(end(b"/a/"), b"/a0");
        assert_eq!(end(b"a\xff"), b"b");
        assert_eq!(end(b"\xff\xff"), FIRST_KEY);
        assert_eq!(end(b""), FIRST_KEY);
    }

    #[test]
    fn a_range_that_holds_nothing_never_reads_as_one_that_holds_all() {
        let range = |from: &[u8], to: &[u8]| {
            Keys::Range {
                from: from.to_vec(),
                to: to.to_vec(),
            }
            .bounds()
        };
        for (from, to) in [
            (&b"b"[..], &b"a"[..]),
            (b"b", b"b"),
            (b"b", b""),
            (b"b", b"\0"),
            (b"", b""),
            (b"", b"\0"),
        ] {
            assert!(range(from, to).is_err(), "{from:?} to {to:?}");
        }
        assert_eq!(range(b"", b"b"), Ok((b"\0".to_vec(), b"b".to_vec())));
        assert_eq!(range(b"a", b"a\0"), Ok((b"a".to_vec(), b"a\0".to_vec())));
    }
}
