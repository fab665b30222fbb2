//! `beeline image`: through the agent where one runs, else in its store directly.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use beeline_container::image::{
    Image, ImageConfig, ImageStore,
    build::{self, BuildEntry},
};

use crate::{
    cli::{ImageCommand, Output},
    config::LookOptions,
    instance,
    local::{Ask, Conversation, ask_one},
    output::{self, Table},
    process,
};

/// The folder of the image store in a data directory.
pub const STORE: &str = "images";

/// Programs of busybox that the example image links to.
const APPLETS: &[&str] = &[
    "sh",
    "ash",
    "cat",
    "date",
    "echo",
    "env",
    "false",
    "head",
    "hostname",
    "httpd",
    "id",
    "ip",
    "ls",
    "mkdir",
    "mount",
    "nc",
    "netstat",
    "nslookup",
    "ping",
    "ps",
    "rm",
    "seq",
    "sleep",
    "sort",
    "tail",
    "tar",
    "test",
    "touch",
    "traceroute",
    "true",
    "udhcpc",
    "uname",
    "uniq",
    "vi",
    "wc",
    "wget",
];

/// What the example image runs: an HTTP server that says which pod it is, and that ends within its grace.
const EXAMPLE_SERVER: &str = "mkdir -p /tmp/www && hostname > /tmp/www/index.html && \
     trap 'sleep 1; kill $server; sleep 1; exit 0' TERM INT && { httpd -f -p ${PORT:-8080} -h /tmp/www & } && server=$! && wait $server";

/// Carry out the command.
pub fn run(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Import { look, archive } => process::block_on(import(look, archive)),
        ImageCommand::Example { name, archive } => {
            example(&name, &archive)?;
            output::note(&format!("wrote {name} to {}", archive.display()));
            Ok(())
        }
        ImageCommand::List { look, output } => process::block_on(list(look, output)),
        ImageCommand::Remove { look, image } => process::block_on(remove(look, image)),
    }
}

/// Write the example image.
pub fn example(name: &str, archive: &Path) -> anyhow::Result<()> {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].iter().map(Path::new).find(|path| path.exists());
    let busybox = busybox.context("find busybox: install Debian's busybox-static")?;
    let mut entries = build::busybox_entries(busybox, APPLETS);
    entries.push(BuildEntry::dir("proc"));
    let config = ImageConfig {
        entrypoint: ["sh", "-c", EXAMPLE_SERVER].map(str::to_owned).to_vec(),
        env: vec!["PATH=/bin".into()],
        ..ImageConfig::default()
    };
    build::archive(archive, name, &entries, &config)
        .with_context(|| format!("write {}", archive.display()))
}

async fn import(look: LookOptions, archive: PathBuf) -> anyhow::Result<()> {
    let archive = archive.canonicalize().with_context(|| format!("open {}", archive.display()))?;
    if running(&look)? {
        let mut answer = Conversation::ask(&look.socket(), &Ask::ImageImport { archive }).await?;
        while let Some(line) = answer.next::<String>().await? {
            output::line(&line);
        }
        return Ok(());
    }
    let store = open(&look)?;
    let images = store
        .import(&archive, &mut |_| {})
        .with_context(|| format!("import {}", archive.display()))?;
    images.iter().for_each(|image| output::line(&imported(image)));
    Ok(())
}

async fn list(look: LookOptions, how: Output) -> anyhow::Result<()> {
    let images: Vec<Image> = match running(&look)? {
        true => ask_one(&look.socket(), &Ask::ImageList).await?,
        false => open(&look)?.list(),
    };
    if how == Output::Json {
        output::line(&serde_json::to_string(&images)?);
        return Ok(());
    }
    let mut table = Table::new(&["IMAGE", "ID", "SIZE"]);
    for image in &images {
        let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        for reference in &image.references {
            table.row(vec![reference.clone(), id.clone(), output::bytes(image.size_bytes)]);
        }
    }
    table.print();
    Ok(())
}

async fn remove(look: LookOptions, image: String) -> anyhow::Result<()> {
    match running(&look)? {
        true => {
            let _: String =
                ask_one(&look.socket(), &Ask::ImageRemove { image: image.clone() }).await?;
        }
        false => open(&look)?.remove(&image).with_context(|| format!("remove {image}"))?,
    }
    output::line(&format!("removed {image}"));
    Ok(())
}

/// One line about an image that was just imported.
pub fn imported(image: &Image) -> String {
    let names: Vec<_> = image.references.iter().map(String::as_str).collect();
    let names = if names.is_empty() { image.id.clone() } else { names.join(", ") };
    format!("imported {names} ({}, {} layers)", output::bytes(image.size_bytes), image.layers.len())
}

fn running(look: &LookOptions) -> anyhow::Result<bool> {
    Ok(instance::holder(&look.run_dir)?.is_some())
}

fn open(look: &LookOptions) -> anyhow::Result<ImageStore> {
    let folder = look.data_dir.join(STORE);
    ImageStore::open(&folder).with_context(|| format!("open the image store {}", folder.display()))
}
