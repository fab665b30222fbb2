//! One virtual machine, from power on to its last line, and never longer than it may take.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{console::Outcome, image::Image};
use crate::exec;

/// Tests load a hundred megabytes of maps each, two at a time, and worlds of namespaces beside them.
const MEMORY: &str = "3G";
/// Lines that wait between the console and us; the machine waits when there are more.
const LINES_MAX: usize = 1024;

/// Ends with whoever holds it, however that ends.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots, shows and keeps what the console says, and returns what it meant.
pub fn run(image: &Image, archive: &Path, log: &Path, limit: Duration) -> anyhow::Result<Outcome> {
    let mut machine = Machine(
        command(image, archive)
            .spawn()
            .context("start qemu-system-x86_64: is the package qemu-system-x86 installed?")?,
    );
    let console = machine.0.stdout.take().context("the console is piped")?;
    let (sender, lines) = mpsc::sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    let outcome = follow(&lines, log, limit, &image.release)?;
    drop(machine);
    Ok(outcome)
}

fn command(image: &Image, archive: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        // Not KVM, even where its device is: nested virtualisation that hangs looks like a kernel that does.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"])
        .arg("-no-reboot")
        .arg("-kernel")
        .arg(image.vmlinuz())
        .arg("-initrd")
        .arg(archive)
        .args(["-append", "console=ttyS0 panic=-1 oops=panic no_timer_check quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn follow(
    lines: &Receiver<String>,
    log: &Path,
    limit: Duration,
    name: &str,
) -> anyhow::Result<Outcome> {
    let mut file = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut outcome = Outcome::default();
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                file.write_all(line.as_bytes())
                    .with_context(|| format!("write {}", log.display()))?;
                exec::pass_on(&format!("{name}: {}", line.trim_end()));
                outcome.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(outcome),
            Err(RecvTimeoutError::Timeout) => {
                outcome
                    .read(&format!("not done after {} s: the machine is ended", limit.as_secs()));
                return Ok(outcome);
            }
        }
    }
}
