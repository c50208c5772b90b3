//! Turns the seam for synchronisation to loom.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(million_loom)");
    println!("cargo::rustc-cfg=million_loom");
    println!("cargo::rerun-if-changed=build.rs");
}
