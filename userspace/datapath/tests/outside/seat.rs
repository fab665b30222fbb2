//! The cgroup of this test process: every socket that a test opens inside a network namespace of a world is then one of
//! the node's or the pod's, as the namespace says. Left and removed when the last world is gone.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Where the process was before, and how many worlds keep it away from there.
static TAKEN: Mutex<Option<(PathBuf, u32)>> = Mutex::new(None);

/// As long as one stands, the process is in its own cgroup.
pub struct Seat {
    pub cgroup: PathBuf,
}

impl Seat {
    pub fn take() -> Self {
        let mount = beeline_sys::cgroup::find_v2_mount().unwrap();
        let cgroup = mount.join(format!("beeline-test-{}", std::process::id()));
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *taken {
            Some((_, worlds)) => *worlds += 1,
            none => {
                fs::create_dir(&cgroup).unwrap();
                let home = mount.join(own_cgroup());
                join(&cgroup).unwrap();
                *none = Some((home, 1));
            }
        }
        Self { cgroup }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((home, worlds)) = &mut *taken else { return };
        *worlds -= 1;
        if *worlds > 0 {
            return;
        }
        if let Err(error) = join(home).and_then(|()| remove(&self.cgroup)) {
            eprintln!("left behind: {}: {error}", self.cgroup.display());
        }
        *taken = None;
    }
}

fn own_cgroup() -> String {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned()
}

fn join(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}

/// Children were killed just now; the kernel takes a moment to let go of them.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    let mut removed = fs::remove_dir(cgroup);
    for _ in 0..200 {
        if removed.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        removed = fs::remove_dir(cgroup);
    }
    removed
}
