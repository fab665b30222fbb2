//! Which beeline this is: everything that it makes on the machine carries the instance's id, so that the
//! next start, or `beeline stop --kill`, finds it all.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// The name of the file that holds the id, in the data directory.
const ID_FILE: &str = "instance";
/// The name of the lock and process id file, in the run directory.
const PID_FILE: &str = "beeline.pid";
/// How long a lock that a dead process handed down is waited for: from fork to exec, on a busy machine.
const HANDED_DOWN_MAX: Duration = Duration::from_secs(5);

/// The instance that this process is. Holds its lock until the process ends.
#[derive(Debug)]
pub struct Instance {
    /// Six hex digits.
    pub id: String,
    _lock: File,
}

impl Instance {
    /// Make the directories, take the lock, and read the id or make one.
    pub fn open(data_dir: &Path, run_dir: &Path) -> anyhow::Result<Self> {
        directory(data_dir, "--data-dir")?;
        directory(run_dir, "--run-dir")?;
        let lock = lock(run_dir)?;
        Ok(Self { id: id(data_dir)?, _lock: lock })
    }
}

/// The id kept in a data directory, if there is one.
pub fn read_id(data_dir: &Path) -> anyhow::Result<Option<String>> {
    let path = data_dir.join(ID_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let id = text.trim();
    if id.len() != 6 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!(
            "{} holds {id:?} instead of six hex digits: restore it, or remove it once no pod of this data \
             directory runs",
            path.display()
        );
    }
    Ok(Some(id.to_owned()))
}

/// The process that holds the lock of a run directory, if one does.
pub fn holder(run_dir: &Path) -> anyhow::Result<Option<u32>> {
    let path = run_dir.join(PID_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None); // nobody holds it; ours goes with the file
    }
    Ok(read_pid(&file))
}

/// Keeps everybody from starting with a run directory; `None` if it is not there. Holds no process id, so that nobody
/// signals one; writes nothing, so that it works on a full disk.
pub fn hold(run_dir: &Path) -> anyhow::Result<Option<File>> {
    let path = run_dir.join(PID_FILE);
    let file = match fs::OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("somebody started beeline with {} just now: stop it first", run_dir.display());
    }
    file.set_len(0).with_context(|| format!("empty {}", path.display()))?;
    Ok(Some(file))
}

fn directory(path: &Path, flag: &str) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("create {}: choose another with {flag}", path.display()))
}

fn lock(run_dir: &Path) -> anyhow::Result<File> {
    let path = run_dir.join(PID_FILE);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    if !is_locked_soon(&file) {
        let holder =
            read_pid(&file).map_or("another process".into(), |pid| format!("process {pid}"));
        bail!(
            "{holder} is running with {} already: stop it with `beeline stop`, or give another --run-dir and \
             --data-dir",
            run_dir.display()
        );
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .context("write the process id")?;
    Ok(file)
}

/// Takes the lock. A process that was killed while it made another leaves the lock to that one until it has become a program
/// of its own: so a holder that is not there any more is waited for.
fn is_locked_soon(file: &File) -> bool {
    let start = Instant::now();
    loop {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        let is_running = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
        if read_pid(file).is_none_or(is_running) || start.elapsed() > HANDED_DOWN_MAX {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read_pid(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn id(data_dir: &Path) -> anyhow::Result<String> {
    if let Some(id) = read_id(data_dir)? {
        return Ok(id);
    }
    let mut bytes = [0_u8; 3];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("read /dev/urandom")?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Written aside, synced and renamed: half an id must never be found after a crash.
    let aside = data_dir.join("instance.new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&aside)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        fs::rename(&aside, data_dir.join(ID_FILE))?;
        File::open(data_dir)?.sync_all()
    };
    write().with_context(|| format!("write the instance's id into {}", data_dir.display()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::{hold, holder, id, lock, read_id};

    #[test]
    fn the_id_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_id(folder.path()).unwrap(), None);
        let first = id(folder.path()).unwrap();
        assert_eq!(id(folder.path()).unwrap(), first);
        std::fs::write(folder.path().join("instance"), "nonsense").unwrap();
        assert!(id(folder.path()).unwrap_err().to_string().contains("six hex digits"));
    }

    #[test]
    fn a_lock_that_a_dead_process_handed_down_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        std::fs::write(folder.path().join("beeline.pid"), gone.id().to_string()).unwrap();
        let child = hold(folder.path()).unwrap().unwrap();
        std::fs::write(folder.path().join("beeline.pid"), gone.id().to_string()).unwrap();
        let becomes_a_program = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            drop(child);
        });
        lock(folder.path()).unwrap();
        becomes_a_program.join().unwrap();
    }

    #[test]
    fn a_second_process_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()).unwrap(), None);
        let held = lock(folder.path()).unwrap();
        let refused = lock(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert_eq!(holder(folder.path()).unwrap(), Some(std::process::id()));
        assert!(hold(folder.path()).is_err());
        drop(held);
        assert_eq!(holder(folder.path()).unwrap(), None);
        let held = hold(folder.path()).unwrap();
        assert!(held.is_some() && lock(folder.path()).is_err());
        assert_eq!(holder(folder.path()).unwrap(), None, "there is nobody to signal");
    }
}
