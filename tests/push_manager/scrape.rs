//! Asking a push manager over HTTP, and reading what it says about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    Ok(Answer {
        status: status.parse().expect("a number"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// What one scrape showed: series by name and labels, labels with their values as they are meant.
#[derive(Clone, Debug)]
pub(crate) struct Scrape(BTreeMap<(String, Vec<(String, String)>), f64>);

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::parse(&answer.body)
    }

    /// Reads the text, and holds it to its format: each family is told of once, before its series, and no series is there twice.
    pub(crate) fn parse(text: &str) -> Self {
        let mut series = BTreeMap::new();
        let (mut helped, mut family) = (BTreeSet::new(), None);
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a text");
                assert!(help.ends_with('.'), "{line}");
                assert!(helped.insert(name.to_owned()), "twice: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(helped.contains(name), "no help: {line}");
                family = Some((name.to_owned(), kind.to_owned()));
            } else {
                let (name, labels, value) = series_of(line);
                let (family, kind) = family.as_ref().expect("a family");
                let suffixes: &[&str] = match kind.as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                assert!(
                    suffixes
                        .iter()
                        .any(|suffix| name == format!("{family}{suffix}")),
                    "{line} in {family}"
                );
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let before = series.insert((name, labels), value);
                assert_eq!(before, None, "twice: {line}");
            }
        }
        Self(series)
    }

    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.0.get(&(name.to_owned(), labels)).copied()
    }

    /// A series without labels, which must be there.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.get(name, &[])
            .unwrap_or_else(|| panic!("{name} is missing in {self:?}"))
    }

    /// Requests of `api` that were answered with `status`.
    pub(crate) fn requests(&self, api: &str, status: &str) -> f64 {
        let labels = [("api", api), ("status", status)];
        self.get("push_manager_api_requests_total", &labels)
            .expect("every answer has a series")
    }

    /// The ids of nodes, and whether each is connected.
    pub(crate) fn nodes(&self) -> Vec<(&str, bool)> {
        self.0
            .iter()
            .filter(|((name, _), _)| name == "push_manager_node_connections")
            .map(|((_, labels), value)| {
                assert!([0.0, 1.0].contains(value));
                assert_eq!((labels.len(), labels[0].0.as_str()), (1, "node_id"));
                (labels[0].1.as_str(), *value == 1.0)
            })
            .collect()
    }

    pub(crate) fn is_balanced(&self) -> bool {
        let fates = [
            "push_manager_push_success_total",
            "push_manager_push_failed_total",
            "push_manager_push_expired_total",
            "push_manager_push_dropped_total",
            "push_manager_push_queued",
        ];
        let sum: f64 = fates.iter().map(|name| self.value(name)).sum();
        self.value("push_manager_push_total") == sum
    }

    /// The counters, and the counts of distributions, that are less than in `before`.
    pub(crate) fn shrunk_since(&self, before: &Self) -> Vec<String> {
        let grows = |name: &str| name.ends_with("_total") || name.ends_with("_bucket");
        before
            .0
            .iter()
            .filter(|((name, _), _)| grows(name))
            .filter(|(series, value)| self.0.get(series).is_none_or(|now| now < value))
            .map(|(series, value)| format!("{series:?}: {value}, now {:?}", self.0.get(series)))
            .collect()
    }
}

/// Name, labels and value of a line.
fn series_of(line: &str) -> (String, Vec<(String, String)>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().expect("a number");
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), Vec::new(), value);
    };
    let mut rest = labels.strip_suffix('}').expect("an end of the labels");
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").expect("a label");
        let mut text = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next().expect("an end of the value") {
                (end, '"') => break end,
                (_, '\\') => text.push(match characters.next().expect("what is escaped").1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other} in {line}"),
                }),
                (_, character) => text.push(character),
            }
        };
        labels.push((label.to_owned(), text));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (name.to_owned(), labels, value)
}
