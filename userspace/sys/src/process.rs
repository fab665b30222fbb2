//! Processes: forking a daemon, leaving namespaces, holding and signalling by pidfd, reaping.
//! In: flags and pids. Out: descriptors and exit facts. Refuses to fork while other threads exist.
#![expect(unsafe_code, reason = "fork and unshare have no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
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

/// Closes every descriptor from 3 up. For the first moments of a program that was handed descriptors it does not know.
///
/// Call it before anything else: a descriptor that the program opened itself would be closed under its owner.
pub fn close_inherited() -> Result<()> {
    // SAFETY: called before this program has opened anything, as documented, so no owner of a closed number exists.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if answer != 0 {
        return Err(io::Error::last_os_error())
            .attempt(|| "close inherited descriptors".to_owned());
    }
    Ok(())
}

/// Marks every descriptor from 3 up to be closed by the next exec.
pub fn close_on_exec() -> Result<()> {
    // SAFETY: descriptors stay open and owned; only their close-on-exec flags change.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer != 0 {
        return Err(io::Error::last_os_error())
            .attempt(|| "mark descriptors close-on-exec".to_owned());
    }
    Ok(())
}

/// Points standard input and output at `/dev/null`; standard error stays.
pub fn stdio_to_null() -> Result<()> {
    let what = || "point standard streams at /dev/null".to_owned();
    let null =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").attempt(what)?;
    for stream in 0..2 {
        // SAFETY: the standard numbers belong to the process as a whole, not to an owner that could be confused.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error()).attempt(what);
        }
    }
    Ok(())
}

/// Makes a command run in its own mount namespace where its executable lies on a read-only bind mount, so that whoever reaches
/// the running program through `/proc/<pid>/exe` cannot overwrite the file (CVE-2019-5736). `executable` is what the command runs.
pub fn run_from_read_only(command: &mut Command, executable: CString) {
    let prepare = move || {
        let path = executable.as_c_str();
        // SAFETY: only the new process's own mount namespace changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        mount_bind(path, path)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(path, flags, c"")?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, on C strings made before: nothing allocates or locks.
    unsafe { command.pre_exec(prepare) };
}

/// Makes a command's process end when the thread that starts it does, however that happens. What the process forks lives on.
pub fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Who died before that sent no signal.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: between fork and exec only system calls are made: nothing allocates or locks.
    unsafe { command.pre_exec(prepare) };
}

/// From here on a piece of memory goes back to the kernel as soon as it is freed: room for a large answer, or for a list of
/// all Services while it grows. The C library would raise this to 32 MiB by itself and keep what was freed.
#[cfg(target_env = "gnu")]
const RETURNED_BYTES: i32 = 1 << 20;

/// Has the C library's allocator spread over at most this many arenas, instead of eight for each processor, so that what a
/// thread freed is found by the others, instead of staying resident beside what they use; and give large pieces back. Call
/// it before threads exist.
pub fn frugal_allocator(arenas: usize) {
    #[cfg(target_env = "gnu")]
    {
        let arenas = i32::try_from(arenas).unwrap_or(i32::MAX);
        for (option, value) in
            [(libc::M_ARENA_MAX, arenas), (libc::M_MMAP_THRESHOLD, RETURNED_BYTES)]
        {
            // SAFETY: it changes a number that the allocator reads under its own lock.
            let _ = unsafe { libc::mallopt(option, value) };
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = arenas; // other allocators have neither
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

/// Like [`fork`], but the child begins its life in a cgroup of the unified hierarchy. Moving a process there later makes the kernel
/// wait for an RCU grace period, some 10 ms; this costs nothing. Needs Linux 5.7.
pub fn fork_into(cgroup: &OwnedFd) -> Result<Forked> {
    /// From linux/sched.h.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let threads = thread_count()?;
    if threads != 1 {
        let why = format!("{threads} threads are running");
        return Err(SysError::new("fork into a cgroup", io::Error::other(why)));
    }
    // SAFETY: clone_args is plain data for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of the only thread's stack and memory.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) }
    {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(u32::try_from(pid).unwrap_or_default())),
        _ => Err(io::Error::last_os_error()).attempt(|| "fork into a cgroup".to_owned()),
    }
}

fn thread_count() -> Result<usize> {
    let what = || "count threads in /proc/self/task".to_owned();
    Ok(std::fs::read_dir("/proc/self/task").attempt(what)?.count())
}

fn pid_of(pid: u32) -> Result<Pid> {
    let bad = || SysError::new(format!("pid {pid}"), io::Error::from(io::ErrorKind::InvalidInput));
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(bad)
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
    (34..=64).contains(&signal).then(|| unsafe { Signal::from_raw_unchecked(signal) })
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
    status.exit_status().map(Ended::Code).or_else(|| status.terminating_signal().map(Ended::Signal))
}

/// Makes orphaned descendants children of this process, so that their exit codes arrive here.
pub fn become_subreaper() -> Result<()> {
    // Any pid means "on" in the safe wrapper; the kernel looks only at zero or not.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .attempt(|| "become child subreaper".to_owned())
}

/// Starts a new session without a terminal.
pub fn new_session() -> Result<()> {
    rustix::process::setsid().map(|_| ()).attempt(|| "start a session".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_a_read_only_mount_cannot_be_overwritten() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP a_program_on_a_read_only_mount_cannot_be_overwritten: needs root");
            return;
        }
        let copy = std::env::temp_dir().join(format!("beeline-sys-sh-{}", std::process::id()));
        std::fs::copy("/bin/sh", &copy).unwrap();
        let mut command = Command::new(&copy);
        command.args(["-c", "echo overwritten > /proc/$$/exe"]);
        run_from_read_only(&mut command, CString::new(copy.to_str().unwrap()).unwrap());
        let output = command.output().unwrap();
        std::fs::remove_file(&copy).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("Read-only file system"), "{text}");
    }

    #[test]
    fn a_child_that_ends_with_its_parent_is_killed() {
        use std::os::unix::process::ExitStatusExt;
        let starter = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            end_with_parent(command.arg("30"));
            command.spawn().unwrap()
        });
        let status = starter.join().unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }

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
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let handle = pidfd(child.id()).unwrap();
        signal_pidfd(&handle, libc::SIGKILL).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(
            signal_pidfd(&handle, libc::SIGKILL).unwrap_err().source.raw_os_error(),
            Some(libc::ESRCH)
        );
        assert_eq!(signal_pidfd(&handle, 4711).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
