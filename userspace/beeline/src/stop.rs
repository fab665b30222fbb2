//! `beeline stop`: end the process; with `--kill`, everything that it made on this machine too.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{cli::StopArgs, instance, output};

/// How long a process may take to end by itself: requests of clients have five seconds, then tasks have ten.
const END_LIMIT: Duration = Duration::from_secs(30);
/// The name of the file in the data directory that says what was made where.
const FOOTPRINT: &str = "footprint.json";

/// Where an instance makes things, kept so that they can be found when the process is gone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Footprint {
    /// The instance's id.
    pub instance: String,
    /// The cgroup v2 folder that it serves.
    pub cgroup_root: PathBuf,
    /// Where programs and maps are pinned.
    pub bpf_root: PathBuf,
    /// The network namespace that it runs in, if not the one it was started in.
    pub netns: Option<PathBuf>,
    /// What identifies that namespace: its inode; paths of processes may be used again.
    pub netns_inode: u64,
    /// Where its process and its pods are found; footprints of older versions do not say.
    #[serde(default)]
    pub run_dir: Option<PathBuf>,
}

/// The places that a process was given.
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    /// Where state is kept.
    pub data_dir: &'a Path,
    /// Where its process and its pods are found.
    pub run_dir: &'a Path,
    /// Where programs and maps are pinned.
    pub bpf_root: &'a Path,
    /// The cgroup v2 folder that it serves.
    pub cgroup_root: &'a Path,
    /// The network namespace that it was told to run in.
    pub netns: Option<&'a Path>,
}

impl Footprint {
    /// Before anything is made: write down where.
    pub fn record(instance: &str, roots: &Roots<'_>) -> anyhow::Result<()> {
        let footprint = Self {
            instance: instance.to_owned(),
            cgroup_root: roots.cgroup_root.to_path_buf(),
            bpf_root: roots.bpf_root.to_path_buf(),
            netns: roots.netns.map(Path::to_path_buf),
            netns_inode: netns_inode(Path::new("/proc/self/ns/net"))?,
            run_dir: Some(absolute(roots.run_dir)?),
        };
        let path = roots.data_dir.join(FOOTPRINT);
        let bytes = serde_json::to_vec(&footprint)?;
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(()); // so that a node starts on a full disk
        }
        let aside = path.with_extension("new");
        fs::write(&aside, bytes)
            .and_then(|()| fs::rename(&aside, &path))
            .with_context(|| format!("write {}", path.display()))
    }

    fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = data_dir.join(FOOTPRINT);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "understand {}: start beeline once more, which writes it anew",
                    path.display()
                )
            })?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// A run directory of somebody else holds a process and pods that are not ours to end.
    fn check(&self, run_dir: &Path, data_dir: &Path) -> anyhow::Result<()> {
        let asked = absolute(run_dir)?;
        match &self.run_dir {
            Some(known) if *known != asked => bail!(
                "what belongs to {} ran with --run-dir {}, not {}: name both",
                data_dir.display(),
                known.display(),
                asked.display()
            ),
            _ => Ok(()),
        }
    }
}

/// The one name of a directory, whether it still exists or not.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .with_context(|| format!("make {} absolute", path.display()))
}

fn netns_inode(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.ino())
}

/// Carry out the command.
pub fn run(args: &StopArgs) -> anyhow::Result<()> {
    let (run_dir, data_dir) = (&args.look.run_dir, &args.look.data_dir);
    if !args.kill {
        return end(run_dir);
    }
    let footprint = Footprint::read(data_dir)?;
    if let Some(footprint) = &footprint {
        footprint.check(run_dir, data_dir)?;
    }
    end(run_dir)?;
    let Some(footprint) = footprint else {
        output::note(&format!("nothing was ever made for {}", data_dir.display()));
        return Ok(());
    };
    // Nobody starts while things are removed.
    let _held = instance::hold(run_dir)?;
    remove_all(footprint, data_dir, run_dir)
}

fn end(run_dir: &Path) -> anyhow::Result<()> {
    let Some(pid) = instance::holder(run_dir)? else {
        output::note("beeline is not running here");
        return Ok(());
    };
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("the process id is out of range")?;
    kill_process(process, Signal::TERM)
        .with_context(|| format!("signal process {pid}: are you root?"))?;
    let start = Instant::now();
    while instance::holder(run_dir)? == Some(pid) {
        if start.elapsed() > END_LIMIT {
            bail!(
                "process {pid} has not ended after {END_LIMIT:?}: see its log; wait if it has a --shutdown-delay, or end it \
                 with `kill -9 {pid}`"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    output::note(&format!("stopped process {pid}"));
    Ok(())
}

fn remove_all(footprint: Footprint, data_dir: &Path, run_dir: &Path) -> anyhow::Result<()> {
    // Links live in the node's namespace; if that is gone, so are they.
    let there = match &footprint.netns {
        Some(path) if netns_inode(path).is_ok_and(|inode| inode == footprint.netns_inode) => {
            beeline_sys::netns::enter(path)?;
            true
        }
        Some(_) => false,
        None => netns_inode(Path::new("/proc/self/ns/net"))? == footprint.netns_inode,
    };
    crate::process::block_on(remove(
        footprint,
        run_dir.to_path_buf(),
        data_dir.to_path_buf(),
        there,
    ))
}

async fn remove(
    footprint: Footprint,
    run_dir: PathBuf,
    data_dir: PathBuf,
    in_its_netns: bool,
) -> anyhow::Result<()> {
    let Footprint { instance, cgroup_root, bpf_root, .. } = footprint;
    let removed =
        beeline_container::embedded::cleanup(&instance, &run_dir, &data_dir, &cgroup_root)
            .context("end the pods and remove their cgroups")?;
    beeline_datapath::cleanup(&bpf_root, &instance)
        .context("remove programs and maps from the kernel")?;
    if in_its_netns {
        beeline_netdev::Net::new().cleanup(&instance).await.context("remove links and routes")?;
    }
    let pods = removed.pods.len();
    output::note(&format!(
        "ended {pods} pods and removed everything of instance {instance}; its data stays"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Footprint;

    #[test]
    fn a_run_directory_of_somebody_else_is_refused() {
        let mine = tempfile::tempdir().unwrap();
        let footprint = |run_dir: Option<&Path>| Footprint {
            instance: "abcdef".into(),
            cgroup_root: "/c".into(),
            bpf_root: "/b".into(),
            netns: None,
            netns_inode: 1,
            run_dir: run_dir.map(Path::to_path_buf),
        };
        let known = footprint(Some(mine.path()));
        known.check(mine.path(), Path::new("/d")).unwrap();
        let refused = known.check(Path::new("/run/beeline"), Path::new("/d")).unwrap_err();
        assert!(refused.to_string().contains("name both"), "{refused}");
        footprint(None).check(Path::new("/run/beeline"), Path::new("/d")).unwrap();
    }
}
