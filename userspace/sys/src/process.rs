//! Processes: forking a daemon, leaving namespaces, holding and signalling by pidfd, reaping.
//! In: flags and pids. Out: descriptors and exit facts. Refuses to fork while other threads exist.
#![expect(unsafe_code, reason = "fork and unshare have no safe wrapper")]

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;

use crate::{Attempt, Result, SysError};

/// Which namespaces to leave for new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unshare(UnshareFlags);

impl Unshare {
    /// A new network namespace.
    pub const NET: Self = Self(UnshareFlags::NEWNET);
    /// A new host name.
    pub const UTS: Self = Self(UnshareFlags::NEWUTS);
    /// New System V IPC and POSIX message queues.
    pub const IPC: Self = Self(UnshareFlags::NEWIPC);
    /// A private copy of the mount table.
    pub const MOUNT: Self = Self(UnshareFlags::NEWNS);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.union(other.0))
    }
}

/// Moves the calling thread into new namespaces.
pub fn unshare(which: Unshare) -> Result<()> {
    // SAFETY: only CLONE_NEW* flags can be named through `Unshare`; the dangerous CLONE_FILES is not among them.
    unsafe { rustix::thread::unshare_unsafe(which.0) }.attempt(|| format!("unshare {which:?}"))
}

/// What a fork returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// In the parent: the child's pid.
    Parent(u32),
    /// In the child.
    Child,
}

/// Forks the process. Refused unless the caller is its only thread, because a lock that another thread holds would
/// stay locked in the child for ever.
pub fn fork() -> Result<Forked> {
    let threads = thread_count()?;
    if threads != 1 {
        let why = format!("{threads} threads are running");
        return Err(SysError::new("fork", io::Error::other(why)));
    }
    // SAFETY: there is one thread, checked above, so the child may use anything the parent could.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(pid.unsigned_abs())),
        _ => Err(io::Error::last_os_error()).attempt(|| "fork".to_owned()),
    }
}

fn thread_count() -> Result<usize> {
    let what = || "count threads in /proc/self/task".to_owned();
    Ok(std::fs::read_dir("/proc/self/task").attempt(what)?.count())
}

fn pid_of(pid: u32) -> Result<Pid> {
    let bad = || {
        SysError::new(
            format!("pid {pid}"),
            io::Error::from(io::ErrorKind::InvalidInput),
        )
    };
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(bad)
}

/// A handle on a process that cannot come to mean another one. Readable once the process has exited.
pub fn pidfd(pid: u32) -> Result<OwnedFd> {
    rustix::process::pidfd_open(pid_of(pid)?, PidfdFlags::empty())
        .attempt(|| format!("open pidfd of {pid}"))
}

/// Sends a signal, by number, through a pidfd.
pub fn signal_pidfd(pidfd: &OwnedFd, signal: i32) -> Result<()> {
    let number = Signal::from_named_raw(signal).or_else(|| realtime(signal));
    let what = || format!("send signal {signal}");
    let Some(number) = number else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).attempt(what);
    };
    rustix::process::pidfd_send_signal(pidfd, number).attempt(what)
}

fn realtime(signal: i32) -> Option<Signal> {
    // Real-time signals up to 64 have no names; 32 and 33 belong to the C library.
    // SAFETY: the number lies in the range the kernel accepts, and it is only ever sent, never given a handler here.
    (34..=64)
        .contains(&signal)
        .then(|| unsafe { Signal::from_raw_unchecked(signal) })
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Reaps one child that has ended, if there is one. Never waits.
pub fn reap() -> Result<Option<(u32, Ended)>> {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => {
            Ok(ended(status).map(|e| (pid.as_raw_nonzero().get().unsigned_abs(), e)))
        }
        Ok(None) => Ok(None),
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(error) => Err(error).attempt(|| "wait for children".to_owned()),
    }
}

fn ended(status: WaitStatus) -> Option<Ended> {
    status
        .exit_status()
        .map(Ended::Code)
        .or_else(|| status.terminating_signal().map(Ended::Signal))
}

/// Makes orphaned descendants children of this process, so that their exit codes arrive here.
pub fn become_subreaper() -> Result<()> {
    // Any pid means "on" in the safe wrapper; the kernel looks only at zero or not.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .attempt(|| "become child subreaper".to_owned())
}

/// Starts a new session without a terminal.
pub fn new_session() -> Result<()> {
    rustix::process::setsid()
        .map(|_| ())
        .attempt(|| "start a session".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_is_refused_among_threads() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let error = fork().unwrap_err();
        drop(done);
        other.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("threads are running"), "{error}");
    }

    #[test]
    fn a_pidfd_signals_the_process_it_was_opened_on() {
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .spawn()
            .unwrap();
        let handle = pidfd(child.id()).unwrap();
        signal_pidfd(&handle, libc::SIGKILL).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(
            signal_pidfd(&handle, libc::SIGKILL)
                .unwrap_err()
                .source
                .raw_os_error(),
            Some(libc::ESRCH)
        );
        assert_eq!(
            signal_pidfd(&handle, 4711).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
