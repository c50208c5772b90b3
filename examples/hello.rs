//! Teaches the smallest service: a message, a handler, a call.

use million::framework::{Cx, Handler, Message, Million, Service};

struct Greeter;

impl Service for Greeter {}

struct Greet {
    name: &'static str,
}

impl Message for Greet {
    type Reply = String;
}

impl Handler<Greet> for Greeter {
    async fn handle(_: &Cx<Self>, message: Greet) -> String {
        format!("Hello, {}!", message.name)
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let million = Million::builder().build()?;
    let greeter = million.spawn(Greeter);
    println!("{}", greeter.blocking_call(Greet { name: "world" })?);
    Ok(())
}
