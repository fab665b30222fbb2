//! The outer archive, taken apart: each member a file of ours, its digest known.
//! In: a tar file, plain or compressed. Out: [`Members`]. Refuses archives beyond the limits, before the disk is full.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ImageError, Limits, Result, hex};

/// One regular file of the archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Where its bytes are now.
    pub(super) path: PathBuf,
    /// `sha256` of them, 64 hex digits.
    pub(super) hex: String,
    /// How many.
    pub(super) size: u64,
}

/// The members of an archive by name.
#[derive(Debug, Default)]
pub(super) struct Members {
    files: BTreeMap<PathBuf, Member>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Members {
    /// A member by its name, through links (older `docker save` archives share layers that way).
    pub(super) fn get(&self, name: &str) -> Option<&Member> {
        let mut path = tidy(Path::new(name));
        for _ in 0..8 {
            if let Some(file) = self.files.get(&path) {
                return Some(file);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    /// A member's bytes as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> Option<std::result::Result<T, String>> {
        let member = self.get(name)?;
        Some(read_json(member, bytes_max).map_err(|why| format!("{name}: {why}")))
    }
}

/// Reads a member as JSON.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    member: &Member,
    bytes_max: u64,
) -> std::result::Result<T, String> {
    if member.size > bytes_max {
        return Err(format!("{} bytes, at most {bytes_max} are read", member.size));
    }
    let bytes = std::fs::read(&member.path).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

/// Takes an archive apart into `dir`.
pub(super) fn take_apart(archive: &Path, dir: &Path, limits: &Limits) -> Result<Members> {
    let refuse = |why: String| ImageError::Archive { archive: archive.display().to_string(), why };
    let file = File::open(archive)
        .map_err(|e| ImageError::io(format!("open {}", archive.display()), e))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(refuse("is a directory; an archive made with `docker save` or an OCI layout in a tar is needed".to_owned()));
    }
    let reader = decompressed(Box::new(BufReader::with_capacity(256 << 10, file)))
        .map_err(|e| refuse(e.to_string()))?;
    let mut tar = tar::Archive::new(Counted { reader, left: limits.bytes_max });
    let mut members = Members::default();
    let entries = tar.entries().map_err(|e| refuse(e.to_string()))?;
    for (number, entry) in entries.enumerate() {
        if number > 100_000 {
            return Err(refuse("more than 100000 members".to_owned()));
        }
        let mut entry = entry.map_err(|e| refuse(unreadable(&e)))?;
        let name = tidy(&entry.path().map_err(|e| refuse(e.to_string()))?);
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let path = dir.join(number.to_string());
            let member = store(&mut entry, path).map_err(|e| match e.kind() {
                // The archive is not to blame.
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    let store = dir.parent().unwrap_or(dir).display();
                    ImageError::io(format!("find space in {store} for {}", archive.display()), e)
                }
                _ => refuse(format!("{}: {e}", name.display())),
            })?;
            members.files.insert(name, member);
        } else if let (true, Ok(Some(target))) =
            (kind.is_symlink() || kind.is_hard_link(), entry.link_name())
        {
            let base = if kind.is_symlink() {
                name.parent().unwrap_or(Path::new(""))
            } else {
                Path::new("")
            };
            members.links.insert(name.clone(), tidy(&base.join(target)));
        }
    }
    if members.files.is_empty() {
        return Err(refuse("holds no files".to_owned()));
    }
    Ok(members)
}

/// What to tell of bytes that are no tar: not the bytes, which the tar crate quotes.
fn unreadable(error: &io::Error) -> String {
    let what = "not a readable tar; an archive made with `docker save` or an OCI layout in a tar is needed";
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("it ends too early: {what}"),
        _ => what.to_owned(),
    }
}

fn store(from: &mut impl Read, path: PathBuf) -> io::Result<Member> {
    let mut to = Hashing::new(File::create_new(&path)?);
    let size = io::copy(from, &mut to)?;
    let (file, hex) = to.finish();
    file.sync_data()?;
    Ok(Member { path, hex, size })
}

/// The stream inside gzip or zstd, or the stream itself, told apart by its first bytes.
pub(super) fn decompressed<'a>(mut reader: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0u8; 4];
    let mut have = 0;
    while have < magic.len() {
        match reader.read(&mut magic[have..])? {
            0 => break,
            read => have += read,
        }
    }
    let whole = io::Cursor::new(magic).take(have as u64).chain(reader);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// A name without `.`, leading `/`, and with `..` resolved by text: members are looked up, never opened by it.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Passes bytes on until a limit.
pub(super) struct Counted<R> {
    pub(super) reader: R,
    pub(super) left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("larger than the import limit once unpacked"))?;
        Ok(read)
    }
}

/// Hashes what passes, in either direction.
pub(super) struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    pub(super) fn finish(self) -> (T, String) {
        (self.inner, hex(&self.hash.finalize()))
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
