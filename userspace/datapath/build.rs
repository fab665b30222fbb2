//! Embeds the kernel object, when `cargo xtask build-ebpf` has built one.

use std::{env, fs, path::PathBuf};

fn main() {
    let workspace =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let object = workspace.join("target/bpf/beeline.o");
    let copy = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("beeline.o");
    emit("rustc-check-cfg=cfg(has_object)");
    emit(&format!("rerun-if-changed={}", object.display()));
    emit("rerun-if-changed=build.rs");
    if object.is_file() && fs::copy(&object, &copy).is_ok() {
        emit("rustc-cfg=has_object");
    }
}

fn emit(instruction: &str) {
    println!("cargo::{instruction}");
}
