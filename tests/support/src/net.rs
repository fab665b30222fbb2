//! Network namespaces, each held open by a process of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::wait::eventually;

/// A network namespace with nothing but a loopback device. Gone when dropped, with all that is in it.
#[derive(Debug)]
pub struct Net {
    holder: Child,
}

impl Net {
    /// Make one.
    pub fn new() -> anyhow::Result<Self> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let holder = Command::new("unshare")
            .args(["--net", "setpriv", "--pdeathsig", "KILL", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .context("run unshare")?;
        let net = Self { holder };
        eventually(Duration::from_secs(30), "the new namespace", || {
            std::fs::read_link(net.path()).is_ok_and(|link| link != own)
                && std::fs::read_to_string(format!("/proc/{}/comm", net.pid()))
                    .is_ok_and(|comm| comm.trim() == "sleep")
        });
        net.ip("link set lo up")?;
        Ok(net)
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The path through which it is entered.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }

    /// A command that will run inside. Unlike `ip netns exec`, /sys stays as it is.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program).stdin(Stdio::null());
        command
    }

    /// Run `ip` inside, with arguments separated by spaces.
    pub fn ip(&self, arguments: &str) -> anyhow::Result<String> {
        let output =
            self.command("ip").args(arguments.split_whitespace()).output().context("run ip")?;
        if !output.status.success() {
            bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Be the switch that others are plugged into.
    pub fn bridge(&self) -> anyhow::Result<()> {
        self.ip("link add br0 type bridge")?;
        self.ip("link set br0 up").map(drop)
    }

    /// Plug into a switch: a link `eth0` with this address.
    pub fn plug(&self, switch: &Self, port: &str, address: &str) -> anyhow::Result<()> {
        switch.ip(&format!("link add {port} type veth peer name eth0 netns {}", self.pid()))?;
        switch.ip(&format!("link set {port} master br0 up"))?;
        self.ip(&format!("addr add {address} dev eth0"))?;
        self.ip("link set eth0 up").map(drop)
    }

    /// Join another namespace by a veth pair. Addresses with their prefix lengths, ours first.
    pub fn connect(
        &self,
        other: &Self,
        link: &str,
        ours: &str,
        theirs: &str,
    ) -> anyhow::Result<()> {
        self.ip(&format!("link add {link} type veth peer name {link} netns {}", other.pid()))?;
        for (net, address) in [(self, ours), (other, theirs)] {
            net.ip(&format!("addr add {address} dev {link}"))?;
            net.ip(&format!("link set {link} up"))?;
        }
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
