//! Files of a volume that the API fills: written aside, then shown all at once.
//!
//! In: paths with content, mode and owner. Out: a directory whose readers see all of the old files or all of the new:
//!
//! ```text
//! token   -> ..data/token
//! ..data  -> ..1767225600000000000      replaced by a rename
//! ..1767225600000000000/token
//! ```
//!
//! Refuses paths that lead out of the volume, and never follows links: a container of old may have put some there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::{self as unix, PermissionsExt as _},
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

/// The link to what is shown.
const SHOWN: &str = "..data";
/// The same before it takes the other's place.
const DRAFT: &str = "..data_tmp";
/// What the group of a Pod's volumes may do with files.
const GROUP_MAY_READ: u32 = 0o440;
/// The same with directories; what is made in them is the group's, too.
const GROUP_MAY_ENTER: u32 = 0o2550;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    /// Root, if nobody is said.
    pub(super) owner: Option<u32>,
}

/// By path within the volume.
pub(super) type Files = BTreeMap<String, File>;

/// Show these files, readable by `group` if there is one. Nothing is done if they are shown already.
pub(super) fn write(place: &Path, files: &Files, group: Option<u32>) -> Result<(), String> {
    let fail = |error: io::Error| format!("write {}: {error}", place.display());
    let mut parsed = BTreeMap::new();
    for (name, file) in files {
        let path = super::inner(name).filter(|_| !name.starts_with(".."));
        let path =
            path.ok_or_else(|| format!("invalid path {name:?}: must stay within the volume"))?;
        let path: PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let mode = (file.mode & 0o777) | group.map_or(0, |_| GROUP_MAY_READ);
        parsed.insert(path, File { mode, ..file.clone() });
    }
    super::directory(place, 0o755)?;
    if is_shown(place, &parsed).unwrap_or(false) {
        return Ok(());
    }
    show(place, &parsed, group).map_err(fail)
}

fn show(place: &Path, files: &BTreeMap<PathBuf, File>, group: Option<u32>) -> io::Result<()> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let version = format!("..{}", since.as_nanos());
    let aside = place.join(&version);
    fs::create_dir(&aside)?;
    for (path, file) in files {
        write_file(&aside, path, file, group)?;
    }
    for folder in [place, &aside] {
        enter(folder, group)?;
    }
    let draft = place.join(DRAFT);
    remove(&draft)?;
    unix::symlink(&version, &draft)?;
    fs::rename(&draft, place.join(SHOWN))?;
    let names: BTreeSet<PathBuf> =
        files.keys().filter_map(|path| path.iter().next()).map(PathBuf::from).collect();
    for name in &names {
        link(place, name)?;
    }
    for entry in fs::read_dir(place)? {
        let name = PathBuf::from(entry?.file_name());
        let stays =
            names.contains(&name) || name == Path::new(SHOWN) || name == Path::new(&version);
        if !stays {
            remove(&place.join(name))?;
        }
    }
    Ok(())
}

fn write_file(aside: &Path, path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let mut folder = aside.to_owned();
    for part in path.parent().into_iter().flat_map(Path::iter) {
        folder.push(part);
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
            enter(&folder, group)?;
        }
    }
    let path = aside.join(path);
    let mut made = fs::File::create_new(&path)?;
    made.write_all(&file.content)?;
    if file.owner.is_some() || group.is_some() {
        unix::fchown(&made, file.owner, group)?;
    }
    made.set_permissions(fs::Permissions::from_mode(file.mode))
}

/// Everybody may enter; what the group makes of it is set beside.
fn enter(folder: &Path, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        unix::lchown(folder, None, group)?;
    }
    let mode = 0o755 | group.map_or(0, |_| GROUP_MAY_ENTER);
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

/// The name that readers know, in place of whatever is there.
fn link(place: &Path, name: &Path) -> io::Result<()> {
    let (path, target) = (place.join(name), Path::new(SHOWN).join(name));
    if fs::read_link(&path).is_ok_and(|known| known == target) {
        return Ok(());
    }
    remove(&path)?;
    unix::symlink(target, path)
}

/// A file, a link or a directory with all in it.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether exactly these files are shown.
fn is_shown(place: &Path, files: &BTreeMap<PathBuf, File>) -> io::Result<bool> {
    let shown = place.join(fs::read_link(place.join(SHOWN))?);
    let mut count = 0;
    let mut folders = vec![shown.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => count += 1,
            }
        }
    }
    for (path, file) in files {
        let (path, name) = (shown.join(path), path.iter().next().unwrap_or_default());
        let same = fs::symlink_metadata(&path)?.permissions().mode() & 0o777 == file.mode
            && fs::read(&path)? == file.content
            && fs::read_link(place.join(name)).is_ok_and(|to| to == Path::new(SHOWN).join(name));
        if !same {
            return Ok(false);
        }
    }
    Ok(count == files.len())
}
