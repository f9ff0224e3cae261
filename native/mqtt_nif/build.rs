//! Keeps the library in memory once it is loaded: threads and resources of the emulator point into
//! it, and `dlclose` under them ends the virtual machine.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
