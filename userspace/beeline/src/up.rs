//! What is said when a process is ready: one line for people, a word for the service manager.

use std::{os::unix::net::UnixDatagram, time::Instant};

use crate::{
    agent::Agent,
    config::{Config, Role},
    output,
};

/// Say that everything is ready, and where to go on.
pub fn announce(config: &Config, agent: Option<&Agent>, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let what = match config.role {
        Role::Up => format!("cluster ready in {seconds:.2} s"),
        Role::Server => format!("server ready in {seconds:.2} s"),
        Role::Agent => format!("node {} ready in {seconds:.2} s", config.node_name),
    };
    let go_on = match config.role {
        Role::Agent => format!("server: {}", config.server.as_deref().unwrap_or("-")),
        _ => format!("export KUBECONFIG={}", config.kubeconfig().display()),
    };
    output::line(&format!("beeline: {what}; {go_on}"));
    if let Some(missing) = agent.map(Agent::missing).filter(|missing| !missing.is_empty()) {
        output::note(&format!(
            "beeline: missing here, see `beeline status`: {}",
            missing.join(", ")
        ));
    }
    notify("READY=1");
}

/// Tell systemd, if it started us (sd_notify(3)): a datagram on the socket that it names.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), &path));
    if let Err(error) = sent {
        tracing::warn!(%error, state, "notify systemd");
    }
}
