//! A container's root: the image's layers under a writable one, mounted in the shim's own mount namespace.
//! In: layer directories. Out: a mount that vanishes with the shim at the latest. Nothing here survives on the host's mount table.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::protocol::Create;

/// Where one container's file system lies.
#[derive(Debug)]
pub(super) struct RootFs {
    /// The mount.
    pub(super) path: PathBuf,
    /// `upper` and `work`.
    data: PathBuf,
}

impl RootFs {
    /// Mounts the layers at `path`, with changes going to `data`.
    pub(super) fn mount(path: PathBuf, data: PathBuf, create: &Create) -> Result<Self, String> {
        let (upper, work) = (data.join("upper"), data.join("work"));
        for dir in [&path, &upper, &work] {
            std::fs::create_dir_all(dir).map_err(|e| format!("create {}: {e}", dir.display()))?;
        }
        let options =
            options(&create.layers, &upper, &work).map_err(|e| format!("overlay options: {e}"))?;
        // Lower directories are given by their short names: options must fit a page.
        let attempt = |e: io::Error| {
            format!("mount overlay of {} layers at {}: {e}", create.layers.len(), path.display())
        };
        std::env::set_current_dir(&create.layers_dir).map_err(attempt)?;
        let mounted = rustix::mount::mount(
            "overlay",
            &path,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        );
        std::env::set_current_dir("/").map_err(attempt)?;
        mounted.map_err(|e| attempt(e.into()))?;
        Ok(Self { path, data })
    }

    /// Unmounts and removes what the container wrote.
    pub(super) fn remove(&self) {
        // Whatever fails here is removed with the mount namespace, and the directory by the agent's clean-up.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn options(layers: &[String], upper: &Path, work: &Path) -> io::Result<CString> {
    let mut text = b"lowerdir=".to_vec();
    for (index, layer) in layers.iter().rev().enumerate() {
        if index > 0 {
            text.push(b':');
        }
        text.extend_from_slice(layer.as_bytes());
    }
    for (name, path) in [(",upperdir=", upper), (",workdir=", work)] {
        text.extend_from_slice(name.as_bytes());
        for byte in path.as_os_str().as_bytes() {
            if b",:\\".contains(byte) {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    }
    if text.len() >= 4096 {
        return Err(io::Error::other(format!(
            "{} bytes do not fit a page; use a shorter data directory",
            text.len()
        )));
    }
    Ok(CString::new(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_layer_comes_first() {
        let layers = ["low".to_owned(), "top".to_owned()];
        let text = options(&layers, Path::new("/d/a,b"), Path::new("/w")).unwrap();
        assert_eq!(text.to_str().unwrap(), "lowerdir=top:low,upperdir=/d/a\\,b,workdir=/w");
        assert!(options(&layers, Path::new(&"x".repeat(5000)), Path::new("/w")).is_err());
    }
}
