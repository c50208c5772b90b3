//! Who is up, by key: changes in, notices out.

use std::collections::BTreeMap;

use super::discovery::Node;
use super::node_record::NodeRecord;

/// What the subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Up(Node),
    Down(Node),
}

/// The nodes that are up.
#[derive(Debug, Default)]
pub(super) struct Table {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// The tags that a node must have to be told.
    wanted: Vec<String>,
}

impl Table {
    /// Tells only of nodes that have this tag, from now on.
    pub(super) fn want(&mut self, tag: String) {
        self.wanted.push(tag);
    }

    /// A key has this value now. The error tells what is wrong with a record that is skipped; a node that was up under its
    /// key is not any more.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> (Vec<Notice>, Option<String>) {
        let node = match node(key, value) {
            Ok(node) => node,
            Err(problem) => return (self.delete(key), Some(problem)),
        };
        let tags = if self.wanted.is_empty() {
            Vec::new()
        } else {
            node.tags()
        };
        if !self.wanted.iter().all(|wanted| tags.contains(wanted)) {
            return (self.delete(key), None);
        }
        match self.nodes.insert(key.to_vec(), node.clone()) {
            Some(before) if before == node => (Vec::new(), None),
            Some(before) => (vec![Notice::Down(before), Notice::Up(node)], None),
            None => (vec![Notice::Up(node)], None),
        }
    }

    /// A key is gone. What was registered under it is known from here, for a delete brings no value.
    pub(super) fn delete(&mut self, key: &[u8]) -> Vec<Notice> {
        self.nodes
            .remove(key)
            .map(Notice::Down)
            .into_iter()
            .collect()
    }
}

fn node(key: &[u8], value: &[u8]) -> Result<Node, String> {
    let record = NodeRecord::parse(value).map_err(|error| error.to_string())?;
    let key = std::str::from_utf8(key)
        .map_err(|_| "the key is not UTF-8 text; register under a text".to_owned())?;
    Ok(Node {
        key: key.to_owned(),
        address: record.address,
        metadata: record.metadata,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Event {
        Put(u8, u8),
        Delete(u8),
    }

    /// Valid bare, valid JSON of the same meaning, valid with metadata, and invalid ones.
    const VALUES: [&str; 6] = [
        "a:1",
        r#"{"Op":0,"Addr":"a:1","Metadata":null}"#,
        r#"{"Op":0,"Addr":"a:1","Metadata":{"node_id":"n"}}"#,
        "b:2",
        "nonsense",
        "{",
    ];

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            3 => (0u8..4, 0u8..6).prop_map(|(key, value)| Event::Put(key, value)),
            1 => (0u8..4).prop_map(Event::Delete),
        ];
        prop::collection::vec(event, 0..60)
    }

    fn key(number: u8) -> Vec<u8> {
        format!("/n/{number}").into_bytes()
    }

    proptest! {
        #[test]
        fn whoever_follows_the_notices_knows_the_valid_records_of_the_store(events in events()) {
            let mut table = Table::default();
            let mut store = BTreeMap::new();
            let mut up: BTreeMap<String, Node> = BTreeMap::new();
            for event in events {
                let notices = match event {
                    Event::Put(number, value) => {
                        let value = VALUES[value as usize].as_bytes();
                        store.insert(key(number), value);
                        let (notices, problem) = table.put(&key(number), value);
                        prop_assert_eq!(problem.is_some(), NodeRecord::parse(value).is_err());
                        notices
                    }
                    Event::Delete(number) => {
                        store.remove(&key(number));
                        table.delete(&key(number))
                    }
                };
                for notice in notices {
                    match notice {
                        Notice::Up(node) => prop_assert_eq!(up.insert(node.key.clone(), node), None),
                        Notice::Down(node) => prop_assert_eq!(up.remove(&node.key), Some(node)),
                    }
                }
                let valid: BTreeMap<String, Node> = store
                    .iter()
                    .filter_map(|(key, value)| node(key, value).ok())
                    .map(|node| (node.key.clone(), node))
                    .collect();
                prop_assert_eq!(&up, &valid);
            }
        }
    }

    #[test]
    fn a_node_without_the_wanted_tags_is_as_good_as_gone() {
        let mut table = Table::default();
        table.want("a".to_owned());
        table.want("b".to_owned());
        let record = |tags: &str| format!(r#"{{"Addr":"a:1","Metadata":{{"tags":"{tags}"}}}}"#);
        let mut notices = |tags: &str| table.put(b"/n/1", record(tags).as_bytes()).0;
        assert_eq!(notices("a"), []);
        assert!(matches!(notices("b,a")[..], [Notice::Up(_)]));
        assert!(matches!(notices("b")[..], [Notice::Down(_)]));
        assert_eq!(notices(""), []);
    }

    #[test]
    fn an_equal_record_under_the_same_key_is_no_news() {
        let mut table = Table::default();
        assert_eq!(table.put(b"/n/1", b"a:1").0.len(), 1);
        assert_eq!(table.put(b"/n/1", VALUES[1].as_bytes()), (Vec::new(), None));
    }
}
