//! Several nodes, each in a namespace of its own, joined by a switch in another. None has a default route.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use crate::{Net, Node, NodeOptions, eventually};

/// Where the server of every cluster is reached. The address exists in the test's namespaces only.
pub const URL: &str = "https://192.0.2.1:6443";

/// How long the server may take until it has written its token.
const TOKEN_LIMIT: Duration = Duration::from_secs(30);

/// A server, and agents that joined it with its token. The nodes go before the switch does.
#[derive(Debug)]
pub struct Cluster {
    /// The server first: `n1`, then `n2` and so on.
    pub nodes: Vec<Node>,
    switch: Net,
    /// How many were plugged in so far; a port is never used twice.
    plugged: AtomicU8,
    families: Families,
}

/// Which addresses nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    V4,
    Both,
}

impl Cluster {
    /// A server that is a node itself, and so many agents.
    pub fn up(agents: usize) -> anyhow::Result<Self> {
        Self::start("up", agents, &[], Families::V4)
    }

    /// The same, with nodes that have an address of each family, and further arguments of the server.
    pub fn up_with_both_families(agents: usize, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start("up", agents, arguments, Families::Both)
    }

    /// A server that runs no pods, and so many agents.
    pub fn server(agents: usize) -> anyhow::Result<Self> {
        Self::start("server", agents, &[], Families::V4)
    }

    fn start(
        command: &str,
        agents: usize,
        arguments: &[&str],
        families: Families,
    ) -> anyhow::Result<Self> {
        let switch = Net::new()?;
        switch.bridge()?;
        let mut cluster = Self { nodes: Vec::new(), switch, plugged: AtomicU8::new(0), families };
        let arguments = [&["--listen=192.0.2.1:6443"], arguments].concat();
        let mut server = cluster.node(command, &arguments)?;
        server.start()?;
        cluster.nodes.push(server);
        let token = cluster.token();
        for _ in 0..agents {
            let agent = cluster.agent(&token)?;
            cluster.nodes.push(agent);
        }
        for agent in &mut cluster.nodes[1..] {
            agent.start()?;
        }
        Ok(cluster)
    }

    /// What `beeline token` prints on the server.
    pub fn token(&self) -> String {
        eventually(TOKEN_LIMIT, "the token", || self.nodes[0].beeline(&["token"]).status.success());
        self.nodes[0].ask(&["token"]).trim().to_owned()
    }

    /// A further agent, plugged in but not started, and not among the nodes yet.
    pub fn agent(&self, token: &str) -> anyhow::Result<Node> {
        self.node("agent", &[&format!("--server={URL}"), &format!("--token={token}")])
    }

    /// A stranger on the nodes' switch.
    pub fn outsider(&self, address: &str) -> anyhow::Result<Net> {
        let number = self.plugged.fetch_add(1, Ordering::Relaxed) + 1;
        let net = Net::new()?;
        net.plug(&self.switch, &format!("p{number}"), address)?;
        Ok(net)
    }

    fn node(&self, command: &str, arguments: &[&str]) -> anyhow::Result<Node> {
        let number = self.plugged.fetch_add(1, Ordering::Relaxed) + 1;
        let net = Net::new()?;
        net.plug(&self.switch, &format!("p{number}"), &format!("192.0.2.{number}/24"))?;
        if self.families == Families::Both {
            net.ip(&format!("addr add 2001:db8:77::{number}/64 dev eth0 nodad"))?;
        }
        let mut arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        arguments.push(format!("--node-ip=192.0.2.{number}"));
        Node::new(
            net,
            NodeOptions { name: format!("n{number}"), command: command.into(), arguments },
        )
    }
}
