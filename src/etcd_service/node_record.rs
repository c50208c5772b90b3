//! What a node registers: where it listens, and what it tells of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::framework::settings::{Address, AddressError};

/// What a node registers: where it listens, and what it tells of itself.
///
/// It is written as the JSON of Go's etcd naming package, and read from that or from a bare address:
///
/// ```
/// use std::collections::BTreeMap;
///
/// use million::etcd_service::NodeRecord;
///
/// let record = NodeRecord {
///     address: "10.0.0.7:50052".to_owned(),
///     metadata: BTreeMap::from([("node_id".to_owned(), "connect-node-1".to_owned())]),
/// };
/// let value = record.to_value();
/// assert_eq!(
///     value,
///     br#"{"Op":0,"Addr":"10.0.0.7:50052","Metadata":{"node_id":"connect-node-1"}}"#
/// );
/// assert_eq!(NodeRecord::parse(&value), Ok(record));
/// assert_eq!(NodeRecord::parse(b"localhost:50052").unwrap().address, "localhost:50052");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRecord {
    /// Where it listens, `host:port`.
    pub address: String,
    /// What it tells of itself, such as `node_id` and `protocol`. Its [tags](Self::tags) are there too, under `tags`.
    pub metadata: BTreeMap<String, String>,
}

/// Where tags stand in the metadata.
const TAGS: &str = "tags";

#[derive(Serialize, Deserialize)]
struct Update<M> {
    #[serde(rename = "Op", default)]
    op: i64,
    #[serde(rename = "Addr")]
    address: String,
    #[serde(rename = "Metadata", default)]
    metadata: M,
}

impl NodeRecord {
    /// The record with these tags. A tag is any text that is not empty, has no comma and neither begins nor ends with a space;
    /// others are left away.
    ///
    /// ```
    /// use million::etcd_service::NodeRecord;
    ///
    /// let record = NodeRecord { address: "10.0.0.7:80".to_owned(), ..NodeRecord::default() };
    /// let record = record.with_tags(["fresh", "local"]);
    /// assert_eq!(record.metadata["tags"], "fresh,local");
    /// assert_eq!(record.tags(), ["fresh", "local"]);
    /// ```
    pub fn with_tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let mut text = String::new();
        for tag in tags {
            let tag = tag.as_ref();
            if is_tag(tag) {
                text.push_str(if text.is_empty() { "" } else { "," });
                text.push_str(tag);
            }
        }
        if text.is_empty() {
            self.metadata.remove(TAGS);
        } else {
            self.metadata.insert(TAGS.to_owned(), text);
        }
        self
    }

    /// The tags: what stands under `tags` in the metadata, with commas between, or as a list of texts in JSON.
    pub fn tags(&self) -> Vec<String> {
        tags(&self.metadata)
    }

    /// The value to register.
    pub fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(&Update {
            op: 0,
            address: self.address.clone(),
            metadata: Some(&self.metadata).filter(|metadata| !metadata.is_empty()),
        })
        .expect("texts and a map of texts can always be written as JSON")
    }

    /// Reads a registered value: the JSON, or a bare address. In the metadata, what is not a text is taken as it is written in
    /// JSON, and what is null is left away.
    ///
    /// # Errors
    ///
    /// It is neither, or the address is not `host:port`.
    pub fn parse(value: &[u8]) -> Result<Self, NodeRecordError> {
        let text = std::str::from_utf8(value).map_err(|_| NodeRecordError::NotText)?;
        let text = text.trim();
        let (address, metadata) = if text.starts_with('{') {
            let update: Update<Value> =
                serde_json::from_str(text).map_err(|error| NodeRecordError::Json {
                    problem: error.to_string(),
                })?;
            (update.address, texts(update.metadata)?)
        } else {
            (text.to_owned(), BTreeMap::new())
        };
        // Only a check: what was registered is told as it was registered.
        address.parse::<Address>()?;
        Ok(Self { address, metadata })
    }
}

/// Whether a text can stand among others as a tag.
pub(super) fn is_tag(text: &str) -> bool {
    !text.is_empty() && !text.contains(',') && text.trim() == text
}

/// The tags of a node with these metadata.
pub(super) fn tags(metadata: &BTreeMap<String, String>) -> Vec<String> {
    let text = metadata.get(TAGS).map_or("", String::as_str);
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(list) => list,
        Err(_) => text
            .split(',')
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

fn texts(metadata: Value) -> Result<BTreeMap<String, String>, NodeRecordError> {
    let entries = match metadata {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(entries) => entries,
        _ => return Err(NodeRecordError::Metadata),
    };
    let texts = entries.into_iter().filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::String(text) => Some((name, text)),
        other => Some((name, other.to_string())),
    });
    Ok(texts.collect())
}

/// Why a value is no [`NodeRecord`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeRecordError {
    /// It is not text.
    #[error("the value is not UTF-8 text; register host:port, or the JSON of Go's naming package")]
    NotText,
    /// It begins like JSON and is none, or lacks the address.
    #[error(
        "the value is not the JSON of a node: {problem}; register {{\"Op\":0,\"Addr\":\"host:port\",\"Metadata\":null}}"
    )]
    Json {
        /// What the parser said.
        problem: String,
    },
    /// The metadata are neither an object nor null.
    #[error("\"Metadata\" is neither an object nor null; register name and text pairs")]
    Metadata,
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_metadata_null_is_written() {
        let record = NodeRecord {
            address: "a:1".to_owned(),
            metadata: BTreeMap::new(),
        };
        let value = record.to_value();
        assert_eq!(value, br#"{"Op":0,"Addr":"a:1","Metadata":null}"#);
        assert_eq!(NodeRecord::parse(&value), Ok(record));
    }

    #[test]
    fn what_is_not_text_in_the_metadata_is_taken_as_written() {
        let value =
            br#"{"Addr":"a:1","Metadata":{"weight":3,"draining":true,"zone":"b","none":null}}"#;
        let metadata = NodeRecord::parse(value).unwrap().metadata;
        let pairs: Vec<_> = metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("draining", "true"), ("weight", "3"), ("zone", "b")]
        );
    }

    #[test]
    fn tags_are_read_as_text_and_as_a_list() {
        let tags = |value: &[u8]| NodeRecord::parse(value).unwrap().tags();
        let expected = ["a", "b c"];
        assert_eq!(
            tags(br#"{"Addr":"a:1","Metadata":{"tags":"a, b c,"}}"#),
            expected
        );
        assert_eq!(
            tags(br#"{"Addr":"a:1","Metadata":{"tags":["a","b c"]}}"#),
            expected
        );
        assert!(tags(b"a:1").is_empty());
        let none = NodeRecord::default().with_tags(["", "a,b", " c"]);
        assert_eq!(none, NodeRecord::default());
    }

    #[test]
    fn a_record_without_a_valid_address_is_refused_and_named() {
        let error = |value: &[u8]| NodeRecord::parse(value).unwrap_err().to_string();
        assert!(error(b"nowhere").contains("`nowhere`"));
        assert!(error(br#"{"Addr":"host:none"}"#).contains("`host:none`"));
        assert!(error(br#"{"Op":0}"#).contains("Addr"));
        assert!(error(br#"{"Addr":"a:1","Metadata":[1]}"#).contains("Metadata"));
        assert!(error(b"").contains("not an address"));
        assert!(error(b"\xff\xfe").contains("UTF-8"));
        assert!(error(b"{").contains("JSON"));
    }
}
