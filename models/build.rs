//! Turns the seam for synchronisation to loom, unless the models are to run on the real thing: under Miri, which follows
//! one order of events and looks for undefined behaviour in it, or if `MILLION_PLAIN` asks for it.

use std::env::var_os;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(million_loom)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MILLION_PLAIN");
    if var_os("CARGO_CFG_MIRI").is_none() && var_os("MILLION_PLAIN").is_none() {
        println!("cargo::rustc-cfg=million_loom");
    }
}
