//! `beeline snapshot`: through the server where one runs, else from its files or from etcd directly.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use beeline_kit::Tasks;
use beeline_store::{
    Etcd,
    backup::{self, Contents},
};

use crate::{
    cli::SnapshotCommand,
    config::{LookOptions, store::StoreArgs},
    instance,
    local::{Ask, ask_one},
    output, process,
};

/// Carry out the command.
pub fn run(command: SnapshotCommand) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Save { look, store, file } => process::block_on(save(look, store, file)),
        SnapshotCommand::Verify { look, file } => verify(&look, file.as_deref()),
        SnapshotCommand::Restore { look, store, bump_revision, file } => {
            process::block_on(restore(look, store, bump_revision, file))
        }
    }
}

async fn save(look: LookOptions, store: StoreArgs, file: PathBuf) -> anyhow::Result<()> {
    if file.exists() {
        bail!("{} exists: nothing is saved over it, give another name", file.display());
    }
    let file = std::path::absolute(&file)?;
    let bar = Bar::new("saving");
    if let Some(etcd) = store.etcd()? {
        let tasks = Tasks::new();
        let store = Etcd::connect(etcd, &tasks).await?;
        let saved = backup::save(&*store, &file, &mut |keys| bar.at(keys)).await?;
        say("saved", &saved, &file);
    } else if instance::holder(&look.run_dir)?.is_some() {
        let line: String = ask_one(&look.socket(), &Ask::SnapshotSave { file }).await?;
        output::line(&line);
    } else {
        let folder = look.data_dir.join("store");
        let saved = backup::save_directory(&folder, &file, &mut |keys| bar.at(keys))?;
        say("saved", &saved, &file);
    }
    Ok(())
}

fn verify(look: &LookOptions, file: Option<&Path>) -> anyhow::Result<()> {
    let folder = look.data_dir.join("store");
    let (place, found) = match file {
        Some(file) => (file, backup::verify(file)?),
        None => (folder.as_path(), backup::verify_directory(&folder)?),
    };
    say("sound:", &found, place);
    if found.torn {
        output::note("its last write was never acknowledged; the next start cuts it off");
    }
    Ok(())
}

async fn restore(
    look: LookOptions,
    store: StoreArgs,
    bump: u64,
    file: PathBuf,
) -> anyhow::Result<()> {
    let bar = Bar::new("restoring");
    if let Some(etcd) = store.etcd()? {
        let made = backup::restore_etcd(&file, &etcd, bump, &mut |keys| bar.at(keys)).await?;
        say("restored", &made, &file);
        return Ok(());
    }
    if let Some(pid) = instance::holder(&look.run_dir)? {
        bail!("process {pid} runs with {}: `beeline stop` first", look.run_dir.display());
    }
    let folder = look.data_dir.join("store");
    std::fs::create_dir_all(&look.data_dir)
        .with_context(|| format!("create {}", look.data_dir.display()))?;
    let made = backup::restore(&file, &folder, bump)?;
    say("restored", &made, &folder);
    Ok(())
}

/// One line about what a store holds.
pub fn line(what: &str, contents: &Contents, place: &Path) -> String {
    format!(
        "{what} {} keys at revision {}, {}, hash {:016x}: {}",
        contents.keys,
        contents.revision,
        output::bytes(contents.bytes),
        contents.hash,
        place.display()
    )
}

fn say(what: &str, contents: &Contents, place: &Path) {
    output::line(&line(what, contents, place));
}

/// A count on a terminal, nothing elsewhere.
struct Bar(indicatif::ProgressBar);

impl Bar {
    fn new(what: &'static str) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => indicatif::ProgressBar::new_spinner(),
            false => indicatif::ProgressBar::hidden(),
        };
        if let Ok(style) = indicatif::ProgressStyle::with_template("{msg} {pos} keys") {
            bar.set_style(style);
        }
        Self(bar.with_message(what))
    }

    fn at(&self, keys: u64) {
        self.0.set_position(keys);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
