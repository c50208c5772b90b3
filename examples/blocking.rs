//! Teaches where blocking belongs: in a service with a thread of its own, and on plain threads through blocking handles.
//!
//! A ledger writes to a file with `std::fs`, which blocks. On a shared worker that would hold up every service there; on its own
//! thread it holds up nobody, and the other services' calls to it are awaited as ever. A plain thread, which knows nothing of
//! async, books into it and reads back.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread;

use million::framework::{Cx, Handle, Handler, Message, Million, Options, Service, StartError};

struct Ledger {
    path: PathBuf,
    file: Option<File>,
}

impl Service for Ledger {
    fn options(&self) -> Options {
        Options::new().dedicated_thread()
    }

    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let mut ledger = cx.state();
        let path = ledger.path.clone();
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        ledger.file = Some(file);
        Ok(())
    }
}

struct Book(String);

impl Message for Book {
    type Reply = std::io::Result<()>;
}

impl Handler<Book> for Ledger {
    async fn handle(cx: &Cx<Self>, message: Book) -> std::io::Result<()> {
        let mut ledger = cx.state();
        let Some(file) = &mut ledger.file else {
            return Err(std::io::Error::other("the ledger is not open"));
        };
        writeln!(file, "{}", message.0)?;
        file.sync_data() // blocks until it is on the disk
    }
}

struct Entries;

impl Message for Entries {
    type Reply = std::io::Result<usize>;
}

impl Handler<Entries> for Ledger {
    async fn handle(cx: &Cx<Self>, _: Entries) -> std::io::Result<usize> {
        let mut text = String::new();
        File::open(&cx.state().path)?.read_to_string(&mut text)?;
        Ok(text.lines().count())
    }
}

/// On a shared worker: it awaits the ledger, and goes on with other messages meanwhile.
struct Shop(Handle<Ledger>);

impl Service for Shop {}

struct Sell(&'static str);

impl Message for Sell {
    type Reply = bool;
}

impl Handler<Sell> for Shop {
    async fn handle(cx: &Cx<Self>, message: Sell) -> bool {
        let ledger = cx.state().0.clone();
        let booked = ledger.call(Book(format!("sold {}", message.0))).await;
        matches!(booked, Ok(Ok(())))
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
#[allow(clippy::disallowed_methods, reason = "an example is its own host")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("million-ledger-{}", std::process::id()));
    let million = Million::builder().workers(1).build()?;
    let ledger = million.spawn(Ledger {
        path: path.clone(),
        file: None,
    });
    let shop = million.spawn(Shop(ledger.clone()));

    let till = thread::spawn(move || {
        for ware in ["bread", "milk", "salt"] {
            assert_eq!(shop.blocking_call(Sell(ware)), Ok(true));
        }
    });
    let auditor = thread::spawn(move || {
        ledger.blocking_send(Book("audited".to_owned()))?;
        // Its own message is before this one, those of the till may be before or after.
        let entries = ledger.blocking_call(Entries)??;
        assert!((1..=4).contains(&entries));
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    till.join().map_err(|_| "the till gave up")?;
    auditor
        .join()
        .map_err(|_| "the auditor gave up")?
        .map_err(|error| error.to_string())?;

    let written = std::fs::read_to_string(&path)?;
    std::fs::remove_file(&path)?;
    println!("{written}");
    assert_eq!(written.lines().count(), 4);
    Ok(())
}
