//! The files of one container attempt: `<n>.log` is written, `<n>.log.1` was written before it, and so on.
//! In: a directory. Out: open files, oldest first. Tolerates a writer that rotates meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The path of a file of an attempt; age 0 is the one being written.
pub(super) fn path(dir: &Path, attempt: u32, age: u32) -> PathBuf {
    match age {
        0 => dir.join(format!("{attempt}.log")),
        age => dir.join(format!("{attempt}.log.{age}")),
    }
}

/// An open file and what identifies it under any name.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) file: File,
    pub(super) inode: u64,
}

/// The files of an attempt, oldest first. They are opened newest first: a rotation in between moves files towards where we still
/// look, so that one may be seen twice (and is dropped) but none is missed.
pub(super) fn open(dir: &Path, attempt: u32) -> io::Result<Vec<Link>> {
    let mut found: Vec<Link> = Vec::new();
    let mut absent = 0;
    // The newest may be missing for a moment while it is being replaced; two gaps in a row end the chain.
    for age in 0.. {
        match File::open(path(dir, attempt, age)) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                if found.iter().all(|link| link.inode != inode) {
                    found.push(Link { file, inode });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent += 1,
            Err(error) => return Err(error),
        }
        if absent == 2 {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// The attempts that have files here, in order.
pub(super) fn attempts(dir: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u32> =
            name.to_str().and_then(|n| n.split_once(".log")).and_then(|(n, _)| n.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
