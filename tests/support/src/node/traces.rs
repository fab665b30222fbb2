//! What pods are made of on a machine, counted: as many of each as there are pods, or something was lost or forgotten.

use std::{fs, path::Path};

use super::{Node, processes_with};

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodTraces {
    /// Ends of pod links in the node's namespace.
    pub links: usize,
    /// Routes to pods.
    pub routes: usize,
    /// Folders in the run directory.
    pub run_folders: usize,
    /// Folders of writable layers.
    pub layer_folders: usize,
    /// Folders of volumes.
    pub volume_folders: usize,
    /// Unified cgroups.
    pub cgroups: usize,
    /// Cgroups of limits, in the controller with the most.
    pub limit_cgroups: usize,
    /// Shims.
    pub shims: usize,
}

impl PodTraces {
    /// What so many pods leave.
    pub fn of(pods: usize, limits: bool) -> Self {
        Self {
            links: pods,
            routes: pods,
            run_folders: pods,
            layer_folders: pods,
            volume_folders: pods,
            cgroups: pods,
            limit_cgroups: if limits { pods } else { 0 },
            shims: pods,
        }
    }
}

impl Node {
    /// Count what the node's pods are made of now.
    pub fn pod_traces(&self) -> PodTraces {
        let instance = fs::read_to_string(self.data_dir().join("instance")).unwrap_or_default();
        let name = format!("beeline-{}", instance.trim());
        let run = self.run_dir().join("pods");
        let links = self.net.ip("-o link show").unwrap_or_default();
        let routes = self.net.ip("route show proto 190 scope link").unwrap_or_default();
        let controllers = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        PodTraces {
            links: links.lines().filter(|line| line.contains(": bl")).count(),
            routes: routes.lines().filter(|line| line.contains(" bl")).count(),
            run_folders: folders(&run),
            layer_folders: folders(&self.data_dir().join("containers")),
            volume_folders: folders(&self.data_dir().join("pods")),
            cgroups: folders(&self.cgroup.join(&name).join("pods")),
            limit_cgroups: controllers
                .map(|controller| folders(&controller.path().join(&name)))
                .max()
                .unwrap_or_default(),
            shims: processes_with(&format!("{}/", run.display())).len(),
        }
    }
}

fn folders(path: &Path) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}
