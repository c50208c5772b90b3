//! Reading a list: at once where one answer is sure to hold it, else in pages that are all of one revision.

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::key_value::KeyValue;
use super::keys::Keys;
use super::kv::{FreshStarts, invalid, of_later_part, pairs, revision_of};
use super::list::{List, Listing, SortBy, SortOrder};

/// Pairs in one answer. A value may have 1.5 MiB, so so many stay below the 2 GiB that a message can have; and they are
/// enough that the number of answers costs little.
const PAGE: u32 = 1000;

impl Connection {
    pub(super) async fn list(&self, list: &List) -> Result<Listing, EtcdError> {
        let single = matches!(list.keys, Keys::One(_));
        if single || list.count_only || (1..=PAGE).contains(&list.limit) {
            return self.page(list).await;
        }
        let mut fresh_starts = FreshStarts::new(list.revision > 0);
        loop {
            let read = if list.sort == (SortBy::Key, SortOrder::Ascending) {
                self.in_pages(list.clone()).await
            } else {
                self.sorted_here(list).await
            };
            if !fresh_starts.one_more_after(&read) {
                return read;
            }
        }
    }

    /// Reads page after page in the order of keys.
    async fn in_pages(&self, mut list: List) -> Result<Listing, EtcdError> {
        let wanted = match list.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let mut all: Option<Listing> = None;
        loop {
            let got = all.as_ref().map_or(0, |all| all.pairs.len());
            list.limit = u32::try_from(wanted - got).map_or(PAGE, |left| left.min(PAGE));
            let page = self.page(&list).await.map_err(|error| match all {
                Some(_) => of_later_part(error),
                None => error,
            })?;
            let last = page.pairs.last().map(|pair| pair.key.clone());
            let all = match &mut all {
                Some(all) => {
                    all.pairs.extend(page.pairs);
                    all.more = page.more;
                    all
                }
                None => all.insert(page),
            };
            match last {
                Some(last) if all.more && all.pairs.len() < wanted => {
                    list.keys = after(&list.keys, last);
                    if list.revision == 0 {
                        list.revision = all.revision;
                    }
                }
                _ => {
                    return Ok(Listing {
                        pairs: std::mem::take(&mut all.pairs),
                        ..*all
                    });
                }
            }
        }
    }

    /// Reads all and puts it in order here: the server sorts only what it tells in a single answer.
    async fn sorted_here(&self, list: &List) -> Result<Listing, EtcdError> {
        let (by, order) = list.sort;
        let mut all = self
            .in_pages(List {
                sort: (SortBy::Key, SortOrder::Ascending),
                limit: 0,
                // Values that are not asked for are still what the pairs may be sorted by.
                keys_only: list.keys_only && by != SortBy::Value,
                ..list.clone()
            })
            .await?;
        sort(&mut all.pairs, by, order);
        if list.limit > 0 {
            all.more = all.pairs.len() > list.limit as usize;
            all.pairs.truncate(list.limit as usize);
        }
        if list.keys_only {
            for pair in &mut all.pairs {
                pair.value = Vec::new();
            }
        }
        Ok(all)
    }

    async fn page(&self, list: &List) -> Result<Listing, EtcdError> {
        let what = Action::new("list", list.keys.subject());
        let (key, options) = list
            .parts()
            .map_err(|reason| invalid(self, &what, reason))?;
        self.request(&what, Effect::of_read(list.serializable), |clients| {
            let mut kv = clients.kv.clone();
            let (key, options) = (key.clone(), options.clone());
            async move {
                let answer = kv.get(key, Some(options)).await?;
                Ok(Listing {
                    count: u64::try_from(answer.count()).unwrap_or(0),
                    revision: revision_of(answer.header()),
                    more: answer.more(),
                    pairs: pairs(answer),
                })
            }
        })
        .await
    }
}

fn sort(pairs: &mut [KeyValue], by: SortBy, order: SortOrder) {
    match by {
        // So they are.
        SortBy::Key => {}
        SortBy::Version => pairs.sort_by_key(|pair| pair.version),
        SortBy::Created => pairs.sort_by_key(|pair| pair.create_revision),
        SortBy::Modified => pairs.sort_by_key(|pair| pair.mod_revision),
        SortBy::Value => pairs.sort_by(|one, other| one.value.cmp(&other.value)),
    }
    if order == SortOrder::Descending {
        pairs.reverse();
    }
}

/// The keys that come after `last`.
fn after(keys: &Keys, last: Vec<u8>) -> Keys {
    let next = [last.as_slice(), &[0]].concat();
    match keys {
        Keys::One(_) | Keys::From(_) => Keys::From(next),
        Keys::Prefix(prefix) if prefix.is_empty() => Keys::From(next),
        Keys::Prefix(_) | Keys::Range { .. } => match keys.bounds() {
            Ok((_, end)) if end != [0] => Keys::Range {
                from: next,
                to: end,
            },
            // A prefix without an end: all of 0xff.
            _ => Keys::From(next),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_after_the_last_key_and_ends_where_the_first_did() {
        let next = |keys: Keys| after(&keys, b"a/5".to_vec()).bounds().unwrap();
        let from = b"a/5\0".to_vec();
        let prefix = Keys::Prefix(b"a/".to_vec());
        assert_eq!(next(prefix), (from.clone(), b"a0".to_vec()));
        let range = Keys::Range {
            from: b"a".to_vec(),
            to: b"b".to_vec(),
        };
        assert_eq!(next(range), (from.clone(), b"b".to_vec()));
        for keys in [
            Keys::From(b"a".to_vec()),
            Keys::Prefix(Vec::new()),
            Keys::Prefix(b"\xff".to_vec()),
        ] {
            assert_eq!(next(keys), (from.clone(), vec![0]));
        }
    }

    #[test]
    fn equals_are_sorted_and_the_order_is_turned_around() {
        let pair = |key: &str, value: &str, version| KeyValue {
            key: key.into(),
            value: value.into(),
            version,
            ..KeyValue::default()
        };
        let mut pairs = vec![pair("a", "z", 3), pair("b", "y", 1), pair("c", "x", 2)];
        let keys = |pairs: &[KeyValue]| -> String {
            pairs.iter().map(|pair| pair.key[0] as char).collect()
        };
        sort(&mut pairs, SortBy::Version, SortOrder::Ascending);
        assert_eq!(keys(&pairs), "bca");
        sort(&mut pairs, SortBy::Value, SortOrder::Descending);
        assert_eq!(keys(&pairs), "abc");
    }
}
