//! Power cuts: a file system of its own on a loop device, whose image is copied while the store writes. The copy is what a
//! disk holds when the power goes; it is mounted, its journal replayed, and the store on it opened.
//!
//! The writer is stopped for the copy, and the copy is taken again until the image did not change meanwhile: no disk was
//! ever in a state that is half of one moment and half of another. `BEELINE_STORE_CUTS=1000` for more than sixty;
//! `BEELINE_STORE_SEED` for the moments of a run that failed. Needs root, mount and mkfs.ext4.
#![expect(clippy::print_stdout, reason = "a test with its own main reports by itself")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;

#[path = "support/witness.rs"]
mod witness;
use witness::{Expected, Life};

const IMAGE_BYTES: u64 = 16 << 20;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("child") => witness::child(Path::new(arguments.get(2).context("no directory")?)),
        // What a test runner asks of a test binary.
        Some("--list") => Ok(()),
        _ if !rustix::process::geteuid().is_root() => {
            println!(
                "SKIPPED, power cuts need a file system of their own, and mounting it needs root"
            );
            Ok(())
        }
        _ => parent(),
    }
}

fn parent() -> anyhow::Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("BEELINE_STORE_CUTS").unwrap_or(60);
    let seed = number("BEELINE_STORE_SEED").unwrap_or_else(rand::random);
    println!("BEELINE_STORE_SEED={seed}");
    let dir = tempfile::tempdir()?;
    let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
    fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
    let (mut random, mut expected) = (StdRng::seed_from_u64(seed), Expected::default());
    for round in 0..rounds {
        let life = Duration::from_micros(random.random_range(0..100_000));
        cut(&image, &copy, dir.path(), life, &mut expected)
            .with_context(|| format!("cut {round}, seed {seed}, {life:?} after it was open"))?;
        // The power is back: this is the disk now.
        fs::rename(&copy, &image)?;
    }
    let mounted = Mounted::new(&image, dir.path())?;
    let mut last = Life::begin(&mounted.0.join("store"))?;
    last.opened(&mut expected).context("after the last cut")?;
    last.end(&mut expected)?;
    let writes = expected.acknowledged;
    ensure!(writes > rounds, "only {writes} writes in {rounds} rounds prove nothing");
    println!("{rounds} power cuts, {writes} writes acknowledged, none missing");
    Ok(())
}

fn cut(
    image: &Path,
    copy: &Path,
    parent: &Path,
    life: Duration,
    expected: &mut Expected,
) -> anyhow::Result<()> {
    let mounted = Mounted::new(image, parent)?;
    let mut child = Life::begin(&mounted.0.join("store"))?;
    child.opened(expected)?;
    std::thread::sleep(life);
    rustix::process::kill_process(child.pid()?, Signal::STOP)?;
    take(image, copy)?;
    child.end(expected)
}

/// Copies the image as it is in one moment.
fn take(image: &Path, copy: &Path) -> anyhow::Result<()> {
    for _ in 0..100 {
        fs::copy(image, copy)?;
        if fs::read(image)? == fs::read(copy)? {
            return Ok(());
        }
    }
    bail!("the image does not come to rest")
}

/// A mount that is gone with this.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, parent: &Path) -> anyhow::Result<Self> {
        let at = parent.join("mount");
        fs::create_dir_all(&at)?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&at))?;
        Ok(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if run(Command::new("umount").arg(&self.0)).is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(&self.0));
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| {
        format!("run {name}: install e2fsprogs and util-linux, `cargo xtask setup` does")
    })?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}
