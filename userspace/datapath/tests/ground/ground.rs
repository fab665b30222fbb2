//! What every world stands on.

use std::path::PathBuf;

use beeline_datapath::{Config, State, features};

/// Why no world can be made here, if so. `needed`: features without which its tests are pointless.
pub fn skip(needed: &[&str]) -> Option<String> {
    let config = Config::new("/sys/fs/bpf/beeline-test", "/", "000000", "n");
    let missing = features(&config)
        .into_iter()
        .find(|feature| needed.contains(&feature.name.as_str()) && feature.state == State::Missing);
    if let Some(feature) = missing {
        return Some(format!("{}: {}", feature.name, feature.why));
    }
    if beeline_sys::cgroup::find_v2_mount().is_err() {
        return Some("no cgroup v2 is mounted".to_owned());
    }
    if !PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/beeline.o").exists() {
        return Some("no kernel object: run `cargo xtask build-ebpf`".to_owned());
    }
    None
}

/// The hardware address in what `ip link show` says.
pub fn mac(link: &str) -> [u8; 6] {
    let text = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let mut mac = [0; 6];
    for (byte, hex) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(hex, 16).unwrap();
    }
    mac
}
