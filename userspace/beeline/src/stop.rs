//! `beeline stop`: end the process; with `--kill`, everything that it made on this machine too.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{cli::StopArgs, config::Config, instance, output};

/// How long a process may take to end by itself.
const END_LIMIT: Duration = Duration::from_secs(15);
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
}

impl Footprint {
    /// Before anything is made: write down where.
    pub fn record(config: &Config, instance: &str, cgroup_root: &Path) -> anyhow::Result<()> {
        let footprint = Self {
            instance: instance.to_owned(),
            cgroup_root: cgroup_root.to_path_buf(),
            bpf_root: config.bpf_root.clone(),
            netns: config.netns.clone(),
            netns_inode: netns_inode(Path::new("/proc/self/ns/net"))?,
        };
        let path = config.data_dir.join(FOOTPRINT);
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
}

fn netns_inode(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.ino())
}

/// Carry out the command.
pub fn run(args: &StopArgs) -> anyhow::Result<()> {
    end(&args.look.run_dir)?;
    if args.kill {
        remove_all(&args.look.data_dir, &args.look.run_dir)?;
    }
    Ok(())
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
                "process {pid} has not ended after {END_LIMIT:?}: see its log, or end it with `kill -9 {pid}`"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    output::note(&format!("stopped process {pid}"));
    Ok(())
}

fn remove_all(data_dir: &Path, run_dir: &Path) -> anyhow::Result<()> {
    let Some(footprint) = Footprint::read(data_dir)? else {
        output::note(&format!("nothing was ever made for {}", data_dir.display()));
        return Ok(());
    };
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
