use std::rc::Rc;

use million::framework::Message;

struct Shared(Rc<u64>);

impl Message for Shared {
    type Reply = ();
}

fn main() {}
