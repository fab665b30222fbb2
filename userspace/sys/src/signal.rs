//! Signals as a readable descriptor, and giving a program that is about to be executed a clean slate.
//! In: signal numbers. Out: a non-blocking descriptor. Refuses to install handlers: they do not compose.
#![expect(unsafe_code, reason = "signalfd, sigprocmask and signal have no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Attempt, Result};

/// Blocked signals that arrive by reading.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SignalFd {
    /// Blocks the signals in the calling thread and opens a descriptor that delivers them.
    pub fn open(signals: &[i32]) -> Result<Self> {
        let set = set_of(signals);
        mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).attempt(|| "open a signalfd".to_owned());
        }
        // SAFETY: the kernel just returned this descriptor and nobody else holds it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that arrived, or `None` when there is none now.
    pub fn next(&self) -> Result<Option<i32>> {
        let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut buffer) {
            Ok(read) if read == buffer.len() => {
                Ok(Some(i32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]])))
            }
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error).attempt(|| "read a signalfd".to_owned()),
        }
    }
}

/// Gives the process what a fresh program expects: nothing blocked and nothing ignored (Rust ignores SIGPIPE, `nohup` SIGHUP).
/// An ignored signal survives exec, so this belongs right before it.
pub fn reset_for_exec() -> Result<()> {
    mask(libc::SIG_SETMASK, &set_of(&[]))?;
    for signal in (1..=31).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
        // SAFETY: SIG_DFL installs no code.
        if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error()).attempt(|| format!("reset signal {signal}"));
        }
    }
    Ok(())
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is initialised; an invalid number is answered with EINVAL and changes nothing.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

fn mask(how: i32, set: &libc::sigset_t) -> Result<()> {
    // SAFETY: the set is initialised and the old one is not asked for.
    let answer = unsafe { libc::pthread_sigmask(how, set, std::ptr::null_mut()) };
    if answer != 0 {
        return Err(io::Error::from_raw_os_error(answer))
            .attempt(|| "change the signal mask".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read() {
        let fd = SignalFd::open(&[libc::SIGUSR2]).unwrap();
        assert_eq!(fd.next().unwrap(), None);
        // SAFETY: the signal is blocked in this thread and directed at it.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
        assert_eq!(fd.next().unwrap(), Some(libc::SIGUSR2));
    }
}
