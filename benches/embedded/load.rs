//! The load: callers that put, each its next as soon as the last is answered, several on a connection.
//!
//! The client shares the machine with the server, so what it costs is taken from the server's rate. It speaks just as much
//! HTTP/2 as a put needs: its requests look on the wire as those of any gRPC client do (one header block from the peer's
//! table, one data frame, each on a stream of its own), and of an answer it takes the message. Several that are ready
//! at once are written at once, as other clients do it too.

use std::time::{Duration, Instant};

use etcd_client::proto::{PbPutRequest, PbPutResponse};
use futures::future::join_all;
use prost::Message;
use prost::bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const CALLERS: usize = 64;
pub(crate) const VALUE_BYTES: usize = 256;

/// Keys of each caller: enough that the store is more than one page of the cache, few enough that it stays small.
const KEYS: u64 = 100;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a peer takes at first, and what this client lets it send: more than it sends in any run.
const FIRST_WINDOW: i64 = 65_535;
const WIDE_WINDOW: u32 = 1 << 30;

/// Answers to all callers of a connection, several times over.
const ROOM: usize = 64 << 10;

/// What gRPC puts before a message: not compressed, and its length.
const MESSAGE_HEAD: usize = 5;

/// Connections to one server, shared by the callers.
pub(crate) struct Clients {
    connections: Vec<Connection>,
}

impl Clients {
    pub(crate) async fn connect(endpoint: &str, connections: usize) -> Self {
        let mut opened = Vec::new();
        for place in 0..connections {
            let callers = (place..CALLERS).step_by(connections).map(Caller::new);
            opened.push(Connection::open(endpoint, callers.collect()).await);
        }
        Self {
            connections: opened,
        }
    }

    /// Puts for so long and tells how many puts a second were answered.
    pub(crate) async fn run(&mut self, time: Duration) -> f64 {
        let begun = Instant::now();
        let end = begun + time;
        let connections = self.connections.iter_mut();
        let counts = join_all(connections.map(|connection| connection.put_until(end))).await;
        f64::from(counts.into_iter().sum::<u32>()) / begun.elapsed().as_secs_f64()
    }
}

/// Who puts, one at a time.
struct Caller {
    name: usize,
    puts: u64,
    /// The stream of its put, and whether the answer's message came.
    waits_on: Option<(u32, bool)>,
}

impl Caller {
    fn new(name: usize) -> Self {
        Self {
            name,
            puts: 0,
            waits_on: None,
        }
    }

    fn next(&mut self) -> PbPutRequest {
        self.puts += 1;
        PbPutRequest {
            key: format!("bench/{:02}/{:04}", self.name, self.puts % KEYS).into_bytes(),
            value: vec![b'x'; VALUE_BYTES],
            ..PbPutRequest::default()
        }
    }
}

struct Connection {
    stream: TcpStream,
    authority: String,
    callers: Vec<Caller>,
    next_stream: u32,
    /// Bytes of data that the server takes now.
    window: i64,
    received: BytesMut,
    to_send: BytesMut,
}

impl Connection {
    async fn open(endpoint: &str, callers: Vec<Caller>) -> Self {
        let authority = endpoint.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&authority).await.expect("it listens");
        stream.set_nodelay(true).expect("it is a TCP stream");
        let mut opened = Self {
            stream,
            authority,
            callers,
            next_stream: 1,
            window: FIRST_WINDOW,
            received: BytesMut::new(),
            to_send: BytesMut::new(),
        };
        opened.to_send.put_slice(PREFACE);
        opened.frame(SETTINGS, 0, 0, &[]);
        opened.frame(WINDOW_UPDATE, 0, 0, &WIDE_WINDOW.to_be_bytes());
        opened
    }

    /// Has every caller put until `end`, and tells how many were answered.
    async fn put_until(&mut self, end: Instant) -> u32 {
        for caller in 0..self.callers.len() {
            self.put(caller);
        }
        let mut answered = 0;
        loop {
            self.stream
                .write_all_buf(&mut self.to_send)
                .await
                .expect("the connection stands");
            // Room for all that may have come, for a second read would cost a good part of a put.
            self.received.reserve(ROOM);
            let read = self.stream.read_buf(&mut self.received).await;
            assert_ne!(
                read.expect("the connection stands"),
                0,
                "the server is there"
            );
            let goes_on = Instant::now() < end;
            while let Some(caller) = self.next_answered() {
                answered += 1;
                if goes_on {
                    self.put(caller);
                }
            }
            if self.callers.iter().all(|caller| caller.waits_on.is_none()) {
                return answered;
            }
        }
    }

    /// Sends a caller's next put.
    fn put(&mut self, caller: usize) {
        let stream = self.next_stream;
        let request = self.callers[caller].next();
        self.callers[caller].waits_on = Some((stream, false));
        self.next_stream += 2;

        let mut headers = Vec::new();
        // POST, http.
        headers.extend([0x83, 0x86]);
        if stream == 1 {
            // With these four the server's table is filled, by name of its static table or by a new one.
            indexed(&mut headers, 4, None, "/etcdserverpb.KV/Put");
            indexed(&mut headers, 1, None, &self.authority);
            indexed(&mut headers, 31, None, "application/grpc");
            indexed(&mut headers, 0, Some("te"), "trailers");
        } else {
            headers.extend([0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
        }
        self.frame(HEADERS, END_HEADERS, stream, &headers);

        let length = request.encoded_len();
        let mut data = BytesMut::with_capacity(MESSAGE_HEAD + length);
        data.put_u8(0);
        data.put_u32(u32::try_from(length).expect("it is small"));
        request.encode(&mut data).expect("there is room");
        self.window -= i64::try_from(data.len()).expect("it is small");
        assert!(self.window >= 0, "so few requests never fill a window");
        self.frame(DATA, END_STREAM, stream, &data);
    }

    /// The next caller whose answer is complete, if one was received.
    fn next_answered(&mut self) -> Option<usize> {
        while let Some((kind, flags, stream, payload)) = self.next_frame() {
            match kind {
                SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload),
                WINDOW_UPDATE if stream == 0 => {
                    let more = payload[..].try_into().map(u32::from_be_bytes);
                    self.window += i64::from(more.expect("it is four bytes"));
                }
                RESET | GO_AWAY => panic!("the server refuses: {payload:?}"),
                HEADERS | DATA => {
                    let waiting =
                        |caller: &Caller| caller.waits_on.is_some_and(|(waits, _)| waits == stream);
                    let place = self.callers.iter().position(waiting);
                    let caller = &mut self.callers[place.expect("the stream is its own")];
                    if kind == DATA && !payload.is_empty() {
                        let answer = PbPutResponse::decode(&payload[MESSAGE_HEAD..]);
                        let header = answer.expect("it decodes").header;
                        assert!(header.expect("an answer has one").revision > 0);
                        caller.waits_on = Some((stream, true));
                    }
                    if flags & END_STREAM != 0 {
                        // A refusal has no message.
                        assert_eq!(caller.waits_on.take(), Some((stream, true)), "it was put");
                        return place;
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn next_frame(&mut self) -> Option<(u8, u8, u32, BytesMut)> {
        let mut head = self.received.get(..FRAME_HEAD)?;
        let length = usize::try_from(head.get_uint(3)).expect("it is three bytes");
        let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
        if self.received.len() < FRAME_HEAD + length {
            return None;
        }
        self.received.advance(FRAME_HEAD);
        Some((kind, flags, stream, self.received.split_to(length)))
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u64::try_from(payload.len()).expect("it is small");
        self.to_send.put_uint(length, 3);
        self.to_send.put_u8(kind);
        self.to_send.put_u8(flags);
        self.to_send.put_u32(stream);
        self.to_send.put_slice(payload);
    }
}

/// A header that the server is to keep in its table: its name by number or in full, and its value.
fn indexed(headers: &mut Vec<u8>, static_name: u8, name: Option<&str>, value: &str) {
    headers.push(0x40 | static_name);
    for text in name.into_iter().chain([value]) {
        headers.push(u8::try_from(text.len()).expect("it is short"));
        headers.extend(text.as_bytes());
    }
}
