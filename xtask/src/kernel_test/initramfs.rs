//! The whole world of a virtual machine: busybox, a few tools, modules, the tests, and an init that runs them.
//!
//! Everything of ours lies under the path that it has here, since tests know the workspace by its absolute path.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use super::{
    RECORD,
    console::{BEGIN, DONE, END, RECORD_MARK},
    image::Image,
    suite::Suite,
};
use crate::{build_ebpf, exec};

/// Tools that tests run and busybox's own would not replace; one test runs a shell under another name.
const TOOLS: [&str; 8] = ["ip", "tc", "nft", "ethtool", "nsenter", "unshare", "setpriv", "sh"];
/// Tells tests that time says nothing here.
const EMULATED: &str = "BEELINE_EMULATED";

/// Packs the archive and says where it is.
pub fn build(
    image: &Image,
    suite: &Suite,
    filter: &str,
    environment: Option<(&str, &str)>,
) -> anyhow::Result<PathBuf> {
    let root = image.folder.join("root");
    let _ = fs::remove_dir_all(&root);
    for folder in ["bin", "sbin", "dev", "proc", "sys", "tmp", "run", "etc", "root", "var/lib"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    install_tools(&root)?;
    image.install_modules(&root)?;
    let workspace = exec::root();
    for file in [build_ebpf::OBJECT, RECORD] {
        let file = workspace.join(file);
        copy(&root, &file, &file)?;
    }
    for binary in &suite.binaries {
        let place = copy(&root, &binary.path, &binary.path)?;
        exec::run(Command::new("strip").arg(&place))?;
        let folder = below(&root, &binary.folder);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let init = root.join("init");
    fs::write(&init, script(suite, filter, environment)).context("write the init script")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
        .context("make the init script executable")?;
    pack(&root, &image.folder.join("initramfs.cpio"))
}

fn install_tools(root: &Path) -> anyhow::Result<()> {
    let busybox = which("busybox")?;
    copy(root, &busybox, Path::new("/bin/busybox"))?;
    let applets = exec::output(Command::new(&busybox).arg("--list"))
        .context("ask busybox for its applets: is busybox-static installed?")?;
    for applet in applets.lines().filter(|applet| !TOOLS.contains(applet) && *applet != "busybox") {
        symlink("/bin/busybox", root.join("bin").join(applet))
            .with_context(|| format!("link {applet}"))?;
    }
    // Where the kernel looks for it.
    symlink("/bin/busybox", root.join("sbin/modprobe")).context("link modprobe")?;
    for tool in TOOLS {
        copy(root, &which(tool)?, &Path::new("/bin").join(tool))?;
    }
    Ok(())
}

/// Copies an executable or any other file, with the libraries that it is linked to.
fn copy(root: &Path, source: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    for library in libraries(source) {
        let place = below(root, &library);
        if !place.exists() {
            copy_one(&library, &place)?;
        }
    }
    let place = below(root, target);
    copy_one(source, &place)?;
    Ok(place)
}

fn copy_one(source: &Path, place: &Path) -> anyhow::Result<()> {
    let attempt = || format!("copy {} to {}", source.display(), place.display());
    fs::create_dir_all(place.parent().unwrap_or(place)).with_context(attempt)?;
    fs::copy(source, place).map(drop).with_context(attempt)
}

/// What the dynamic linker would load; empty for anything that it does not.
fn libraries(file: &Path) -> BTreeSet<PathBuf> {
    let text = exec::output(Command::new("ldd").arg(file)).unwrap_or_default();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

fn below(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

fn which(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/sbin", "/usr/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|found| found.is_file())
        .with_context(|| format!("find {program} on PATH"))
}

/// Mounts what a system has, runs every test, tells the record, switches itself off.
fn script(suite: &Suite, filter: &str, environment: Option<(&str, &str)>) -> String {
    let mut lines = vec![
        "#!/bin/busybox sh".to_owned(),
        "export PATH=/bin:/sbin HOME=/root TERM=dumb".to_owned(),
        "mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev"
            .to_owned(),
        "mount -t bpf bpf /sys/fs/bpf && mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned(),
        "ip link set lo up".to_owned(),
        // Tests begin two at a time: the second to ask for a module that is just being loaded would be told that there is none.
        "modprobe veth".to_owned(),
        format!("export {EMULATED}=1"),
    ];
    lines.extend(environment.map(|(name, value)| format!("export {name}={value}")));
    for binary in &suite.binaries {
        let (name, path) = (&binary.name, binary.path.display());
        lines.push(format!("echo; echo '{BEGIN}{name}'"));
        lines.push(format!(
            "cd {} && {path} --show-output {filter} </dev/null 2>&1",
            binary.folder.display()
        ));
        lines.push(format!("status=$?; echo; echo \"{END}$status\""));
    }
    let record = exec::root().join(RECORD);
    lines.push(format!("echo; sed 's/^/{RECORD_MARK}/' {}", record.display()));
    lines.push(format!("echo '{DONE}'"));
    lines.push("poweroff -f".to_owned());
    lines.join("\n") + "\n"
}

/// The kernel's own format, uncompressed: emulated processors are slow to unpack.
fn pack(root: &Path, archive: &Path) -> anyhow::Result<PathBuf> {
    let file =
        fs::File::create(archive).with_context(|| format!("create {}", archive.display()))?;
    let status = Command::new("sh")
        .args(["-c", "find . | busybox cpio -o -H newc 2>/dev/null"])
        .current_dir(root)
        .stdout(file)
        .status()
        .context("run busybox cpio")?;
    if !status.success() {
        bail!("pack {} into {}: {status}", root.display(), archive.display());
    }
    Ok(archive.to_owned())
}
