//! An image archive made from files at hand, for demonstrations and tests.
//! In: entries and a configuration. Out: an archive as `docker save` writes it. Refuses to run anything: this is no builder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::{ImageConfig, ImageError, Result, hex, normalise};

/// One entry of the image's only layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildEntry {
    /// Where, without a leading `/`.
    pub path: String,
    /// What.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A copy of this file.
    File(PathBuf),
    /// A symbolic link.
    Symlink(String),
}

impl BuildEntry {
    /// A directory, mode 0755.
    #[must_use]
    pub fn dir(path: &str) -> Self {
        Self { path: path.to_owned(), content: Content::Directory, mode: 0o755 }
    }

    /// A file with these bytes.
    #[must_use]
    pub fn bytes(path: &str, bytes: &[u8], mode: u32) -> Self {
        Self { path: path.to_owned(), content: Content::Bytes(bytes.to_vec()), mode }
    }

    /// An executable copied from the host.
    #[must_use]
    pub fn executable(path: &str, from: &Path) -> Self {
        Self { path: path.to_owned(), content: Content::File(from.to_owned()), mode: 0o755 }
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), content: Content::Symlink(target.to_owned()), mode: 0o777 }
    }
}

/// The entries of a small system around a static busybox: `/bin/busybox`, a link for each applet named, `/etc` and `/tmp`.
#[must_use]
pub fn busybox_entries(busybox: &Path, applets: &[&str]) -> Vec<BuildEntry> {
    let mut entries = vec![BuildEntry::dir("bin"), BuildEntry::dir("etc"), BuildEntry::dir("root")];
    entries.push(BuildEntry { mode: 0o1777, ..BuildEntry::dir("tmp") });
    entries.push(BuildEntry::bytes(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        0o644,
    ));
    entries.push(BuildEntry::bytes("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644));
    entries.push(BuildEntry::executable("bin/busybox", busybox));
    entries.extend(
        applets.iter().map(|applet| BuildEntry::symlink(&format!("bin/{applet}"), "busybox")),
    );
    entries
}

/// Writes an archive with one image of one layer to `archive`, under the given reference.
pub fn archive(
    archive: &Path,
    reference: &str,
    entries: &[BuildEntry],
    config: &ImageConfig,
) -> Result<()> {
    let attempt = |e| ImageError::io(format!("write {}", archive.display()), e);
    let layer = layer(entries).map_err(attempt)?;
    let diff_id = format!("sha256:{}", hex(&Sha256::digest(&layer)));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let document = json!({
        "architecture": architecture, "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    })
    .to_string();
    let config_name = format!("{}.json", hex(&Sha256::digest(document.as_bytes())));
    let manifest =
        json!([{ "Config": config_name, "RepoTags": [normalise(reference)?], "Layers": ["layer.tar"] }]).to_string();
    let write = || -> io::Result<()> {
        let file = io::BufWriter::new(std::fs::File::create(archive)?);
        let mut tar = tar::Builder::new(file);
        append(&mut tar, "layer.tar", EntryType::Regular, 0o644, &layer)?;
        append(&mut tar, &config_name, EntryType::Regular, 0o644, document.as_bytes())?;
        append(&mut tar, "manifest.json", EntryType::Regular, 0o644, manifest.as_bytes())?;
        tar.into_inner()?.flush()
    };
    write().map_err(attempt)
}

fn layer(entries: &[BuildEntry]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for BuildEntry { path, content, mode } in entries {
        match content {
            Content::Directory => {
                append(&mut tar, &format!("{path}/"), EntryType::Directory, *mode, &[])?;
            }
            Content::Bytes(bytes) => append(&mut tar, path, EntryType::Regular, *mode, bytes)?,
            Content::File(from) => {
                append(&mut tar, path, EntryType::Regular, *mode, &std::fs::read(from)?)?;
            }
            Content::Symlink(target) => {
                let mut header = header(EntryType::Symlink, *mode, 0);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    tar.into_inner()
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    tar.append_data(&mut header(kind, mode, bytes.len() as u64), path, bytes)
}

/// Owned by root, dated at the epoch: the same input gives the same image id.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
