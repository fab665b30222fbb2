//! What the kernel charges for the maps and programs of an instance.

use std::{
    fs, io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use crate::{DatapathError, bpf, config::instance_directory, error::At as _};

/// Bytes of everything that an instance pinned, whether a process holds it or not: maps with what is in them now, and
/// programs, each once. Kernels before 6.4 (`map_mem_usage`) tell what a full map would take, whatever is in it.
pub fn charged_bytes(bpf_root: &Path, instance: &str) -> Result<u64, DatapathError> {
    let directory = instance_directory(bpf_root, instance);
    let mut total = 0;
    for kind in ["maps", "programs"] {
        for path in objects(&directory.join(kind)).at("list", &directory)? {
            total += charge(&path).at("look at", &path)?;
        }
    }
    Ok(total)
}

/// Pins below a directory, those in directories of it included.
fn objects(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(objects(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn charge(path: &Path) -> io::Result<u64> {
    let object = bpf::get(path)?;
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let locked = said.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = locked.and_then(|bytes| bytes.trim().parse().ok());
    bytes.ok_or_else(|| io::Error::other("the kernel does not say what it charges"))
}
