//! A process of this very binary that owns the datapath, to be killed at any moment.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use beeline_kit::Tasks;

use crate::world::{self, Shape, V4, World};

const WHERE: &str = "BEELINE_TEST_OWNER";
const IN_FORCE: &str = "@ in force";

/// A running owner; killed when dropped, as suddenly as can be.
pub struct Owner {
    child: Child,
}

impl Owner {
    pub fn start(world: &World) -> Self {
        let config = &world.config;
        let place = [&config.bpf_root, &config.cgroup_root].map(|path| path.to_str().unwrap());
        let child = world
            .node
            .command(std::env::current_exe().unwrap().to_str().unwrap())
            .args(["owner_process", "--exact", "--nocapture"])
            .env(WHERE, format!("{};{};{}", place[0], place[1], config.instance))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Returns when it holds what control wants, and whether it ever did.
    pub fn is_in_force(&mut self) -> bool {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        lines.map_while(Result::ok).any(|line| line.contains(IN_FORCE))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The owner's side, in the node's network namespace. Does nothing in an ordinary test run.
pub fn serve() {
    let Ok(place) = std::env::var(WHERE) else { return };
    let [bpf_root, cgroup, instance] = place.split(';').collect::<Vec<_>>().try_into().unwrap();
    let config = world::config(PathBuf::from(bpf_root), Path::new(cgroup), instance);
    let state = world::tables(1, &V4, &[V4.other], Shape::default());
    let _running = world::run(&config, &Tasks::new(), None, state);
    println!("\n{IN_FORCE}");
    // Until the parent kills this process, or ends itself.
    let _ = std::io::stdin().lines().count();
}
