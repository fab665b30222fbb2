//! Embeds the kernel object, when `cargo xtask build-ebpf` has built one.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

fn main() {
    let workspace =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let object = workspace.join("target/bpf/beeline.o");
    let copy = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("beeline.o");
    emit("rustc-check-cfg=cfg(has_object)");
    emit(&format!("rerun-if-changed={}", object.display()));
    emit("rerun-if-changed=build.rs");
    emit(&format!("rustc-env=BEELINE_OBJECT_FINGERPRINT={:016x}", fingerprint(&object)));
    if object.is_file() && fs::copy(&object, &copy).is_ok() {
        emit("rustc-cfg=has_object");
    }
}

/// Programs of the same object that an earlier process left in the kernel are known by it.
fn fingerprint(object: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(object).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn emit(instruction: &str) {
    println!("cargo::{instruction}");
}
