//! Secret files: readable by their owner only, and either the old or the new content, never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::AuthError;

/// Makes the directory with mode 0700.
pub(crate) fn make_dir(path: &Path) -> Result<(), AuthError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| AuthError::File { what: "create directory", path: path.into(), source })
}

/// The content, or nothing when there is no such file. A file that others can read is closed to them.
pub(crate) fn read(path: &Path) -> Result<Option<String>, AuthError> {
    let failed = |what| move |source| AuthError::File { what, path: path.into(), source };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read")(error)),
    };
    let mode = fs::metadata(path).map_err(failed("look at"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "was readable by others, now 600");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("close"))?;
    }
    Ok(Some(text))
}

/// Writes with mode 0600: beside it, synced, then renamed over.
pub(crate) fn write(path: &Path, content: &str) -> Result<(), AuthError> {
    write_synced(path, content).map_err(|source| AuthError::File {
        what: "write",
        path: path.into(),
        source,
    })
}

fn write_synced(path: &Path, content: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
