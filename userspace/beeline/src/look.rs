//! The looking commands: ask the agent, print what it says.

use std::{fs, path::Path};

use anyhow::Context as _;
use clap::CommandFactory as _;
use serde_json::json;

use crate::{
    cli::{Cli, Output, ServicesArgs, StatusArgs},
    config::{Config, LookOptions},
    local::{Ask, ask_one},
    output::{self, Table},
    status::{Services, Status},
    version,
};

mod flows;

pub use flows::flows;

/// `beeline services`.
pub async fn services(args: ServicesArgs) -> anyhow::Result<()> {
    let services: Services = ask_one(&args.look.socket(), &Ask::Services).await?;
    if args.output == Output::Json {
        output::line(&serde_json::to_string(&services)?);
        return Ok(());
    }
    let mut table =
        Table::new(&["SERVICE", "FRONTEND", "BACKEND", "POD", "STATE", "OPEN", "TOTAL"]);
    for frontend in &services.frontends {
        let name = format!("{}{}", frontend.service, port_suffix(&frontend.port_name));
        let address = format!("{}/{}", frontend.address, frontend.protocol);
        if frontend.backends.is_empty() {
            let refused = "none: refused".to_owned();
            table.row(vec![
                name.clone(),
                address.clone(),
                refused,
                "-".into(),
                "-".into(),
                "0".into(),
                "0".into(),
            ]);
        }
        for (index, backend) in frontend.backends.iter().enumerate() {
            let first = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
            table.row(vec![
                first(&name),
                first(&address),
                backend.address.clone(),
                backend.pod.clone(),
                backend.state.clone(),
                backend.open.to_string(),
                backend.total.to_string(),
            ]);
        }
    }
    table.print();
    output::line(&format!("epoch {} in force", services.epoch));
    Ok(())
}

fn port_suffix(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(":{name}") }
}

/// `beeline status`.
pub async fn status(args: StatusArgs) -> anyhow::Result<()> {
    let status: Status = ask_one(&args.look.socket(), &Ask::Status).await?;
    if args.output == Output::Json {
        output::line(&serde_json::to_string(&status)?);
        return Ok(());
    }
    let ready = if status.ready { "ready" } else { "not ready" };
    output::line(&format!(
        "beeline {} (Kubernetes {}), {}, node {}, instance {}, up {}",
        status.version,
        status.kubernetes,
        ready,
        status.node,
        status.instance,
        output::duration(status.uptime_s)
    ));
    let mut table = Table::new(&["PART", "HEALTH", "DETAIL"]);
    for part in &status.parts {
        let health = if part.healthy { "ok" } else { "FAILED" };
        table.row(vec![part.name.clone(), health.into(), part.detail.clone()]);
    }
    table.print();
    output::heading("Kernel");
    let mut table = Table::new(&["FEATURE", "STATE", "DETAIL"]);
    for feature in &status.features {
        table.row(vec![feature.name.clone(), feature.state.clone(), feature.detail.clone()]);
    }
    table.print();
    let counted: Vec<_> = status.counters.iter().filter(|(_, count)| **count > 0).collect();
    if !counted.is_empty() {
        output::heading("Counters");
        let mut table = Table::new(&["COUNTER", "COUNT"]);
        for (name, count) in counted {
            table.row(vec![name.clone(), count.to_string()]);
        }
        table.print();
    }
    Ok(())
}

/// `beeline token`.
pub fn token(look: &LookOptions) -> anyhow::Result<()> {
    let authority = open_authority(&look.data_dir)?;
    output::line(
        &beeline_auth::JoinToken::open(&authority).context("read the join token")?.reveal(),
    );
    Ok(())
}

fn open_authority(data_dir: &Path) -> anyhow::Result<beeline_auth::Authority> {
    let folder = data_dir.join("pki");
    anyhow::ensure!(
        folder.exists(),
        "{} holds no server's state: run this on the server, with its --data-dir",
        data_dir.display()
    );
    beeline_auth::Authority::open(data_dir, std::time::SystemTime::now())
        .context("open the cluster's authority")
}

/// `beeline kubeconfig`.
pub fn kubeconfig(look: &LookOptions) -> anyhow::Result<()> {
    let path = look.data_dir.join("admin.kubeconfig");
    let text = fs::read_to_string(&path).with_context(|| {
        format!("read {}: run this on the server, with its --data-dir", path.display())
    })?;
    text.lines().for_each(output::line);
    Ok(())
}

/// `beeline config`.
pub fn config(config: &Config) -> anyhow::Result<()> {
    output::line(serde_saphyr::to_string(config).context("print the configuration")?.trim_end());
    Ok(())
}

/// `beeline version`.
pub fn version(how: Output) -> anyhow::Result<()> {
    match how {
        Output::Table => output::line(&format!("beeline {}", version::LONG)),
        Output::Json => {
            let value = json!({ "version": version::VERSION, "kubernetes": version::KUBERNETES });
            output::line(&value.to_string());
        }
    }
    Ok(())
}

/// `beeline completion`.
pub fn completion(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "beeline", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// `beeline man`.
pub fn man(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("write man pages into {}", folder.display()))?;
    output::note(&format!("wrote man pages into {}", folder.display()));
    Ok(())
}
