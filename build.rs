//! How the program is linked. It must not look at anything but the target: the same sources make the same program.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Each table of functions is a list of addresses that the loader adds the program's own to. Packed, that list takes
    // some KB instead of 300 (DT_RELR; glibc 2.36 and later read it, and a linker that does not know it says so).
    let is = |name: &str, value: &str| var(name).is_ok_and(|it| it == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
