//! The few calls of bpf(2) that a small XDP program needs: load it, put it on a link, read a map, let it make packets.
//! In: instructions, link indexes. Out: descriptors; a program is on its link while the descriptor lives.
//! Refuses maps other than arrays of 64-bit numbers, and pinning: whoever needs more has a library for it.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper without a library")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Attempt, Result};

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
/// Frames really leave, instead of being thrown away after the run (Linux 5.18).
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames handed over at once; the kernel's own default.
const LIVE_BATCH: u32 = 64;
/// Room for what the verifier says when it refuses.
const VERIFIER_LOG_BYTES: usize = 64 * 1024;

/// One instruction, as linux/bpf.h lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the lower four bits, source register in the upper ones.
    pub registers: u8,
    /// Offset of a jump or an address.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

/// An array of 64-bit numbers that the kernel and we share.
#[derive(Debug)]
pub struct NumberMap(OwnedFd);

impl AsFd for NumberMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl NumberMap {
    /// An array of `count` entries, each of `numbers` zeroes.
    pub fn new(count: u32, numbers: u32) -> Result<Self> {
        #[repr(C)]
        struct Attributes {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
        }
        let mut attributes = Attributes {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8 * numbers,
            max_entries: count,
        };
        let fd = call(MAP_CREATE, &mut attributes).attempt(|| "create an array map".to_owned())?;
        Ok(Self(own(fd)))
    }

    /// The numbers of an entry. `N` must be how many there are.
    pub fn get<const N: usize>(&self, index: u32) -> Result<[u64; N]> {
        let mut value = [0u64; N];
        self.element(MAP_LOOKUP, index, value.as_mut_ptr())?;
        Ok(value)
    }

    /// Sets the numbers of an entry. `N` must be how many there are.
    pub fn set<const N: usize>(&self, index: u32, mut value: [u64; N]) -> Result<()> {
        self.element(MAP_UPDATE, index, value.as_mut_ptr())
    }

    fn element(&self, command: libc::c_long, index: u32, value: *mut u64) -> Result<()> {
        #[repr(C)]
        struct Attributes {
            map: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let mut attributes = Attributes {
            map: number(&self.0),
            padding: 0,
            key: (&raw const index).expose_provenance() as u64,
            value: value.expose_provenance() as u64,
            flags: 0,
        };
        call(command, &mut attributes).map(drop).attempt(|| format!("access map entry {index}"))
    }
}

/// A loaded XDP program.
#[derive(Debug)]
pub struct XdpProgram(OwnedFd);

impl XdpProgram {
    /// Loads one. What the verifier says is part of the error.
    pub fn load(instructions: &[Instruction]) -> Result<Self> {
        #[repr(C)]
        struct Attributes {
            program_type: u32,
            instruction_count: u32,
            instructions: u64,
            licence: u64,
            log_level: u32,
            log_size: u32,
            log: u64,
        }
        let licence = c"GPL";
        let mut log = vec![0u8; VERIFIER_LOG_BYTES];
        let mut attributes = Attributes {
            program_type: PROG_TYPE_XDP,
            instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
            instructions: instructions.as_ptr().expose_provenance() as u64,
            licence: licence.as_ptr().expose_provenance() as u64,
            log_level: 1,
            log_size: u32::try_from(VERIFIER_LOG_BYTES).unwrap_or(u32::MAX),
            log: log.as_mut_ptr().expose_provenance() as u64,
        };
        let fd = call(PROG_LOAD, &mut attributes).attempt(|| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            format!("load an XDP program: {}", String::from_utf8_lossy(&log[..end]).trim())
        })?;
        Ok(Self(own(fd)))
    }

    /// Puts it on a link of the caller's network namespace, in the driver, for as long as the result lives.
    pub fn attach(&self, ifindex: u32) -> Result<OwnedFd> {
        #[repr(C)]
        struct Attributes {
            program: u32,
            target: u32,
            attach_type: u32,
            flags: u32,
        }
        let mut attributes = Attributes {
            program: number(&self.0),
            target: ifindex,
            attach_type: ATTACH_TYPE_XDP,
            flags: 1 << 2, // XDP_FLAGS_DRV_MODE
        };
        let fd = call(LINK_CREATE, &mut attributes)
            .attempt(|| format!("attach an XDP program to link {ifindex}"))?;
        Ok(own(fd))
    }

    /// Runs it on copies of a frame as if they had come in on a link of the caller's network namespace, and does with
    /// them what it returns. Everything happens on the CPU of the calling thread.
    pub fn run_live(&self, frame: &[u8], ifindex: u32, times: u32) -> Result<()> {
        /// `struct xdp_md`.
        #[repr(C)]
        struct Context {
            data: u32,
            data_end: u32,
            data_meta: u32,
            ingress_ifindex: u32,
            rx_queue_index: u32,
            egress_ifindex: u32,
        }
        #[repr(C)]
        struct Attributes {
            program: u32,
            answer: u32,
            data_in_size: u32,
            data_out_size: u32,
            data_in: u64,
            data_out: u64,
            repeat: u32,
            duration: u32,
            context_in_size: u32,
            context_out_size: u32,
            context_in: u64,
            context_out: u64,
            flags: u32,
            cpu: u32,
            batch_size: u32,
            padding: u32,
        }
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let context = Context {
            data: 0,
            data_end: length,
            data_meta: 0,
            ingress_ifindex: ifindex,
            rx_queue_index: 0,
            egress_ifindex: 0,
        };
        let mut attributes = Attributes {
            program: number(&self.0),
            answer: 0,
            data_in_size: length,
            data_out_size: 0,
            data_in: frame.as_ptr().expose_provenance() as u64,
            data_out: 0,
            repeat: times,
            duration: 0,
            context_in_size: u32::try_from(size_of::<Context>()).unwrap_or(24),
            context_out_size: 0,
            context_in: (&raw const context).expose_provenance() as u64,
            context_out: 0,
            flags: TEST_XDP_LIVE_FRAMES,
            cpu: 0,
            batch_size: LIVE_BATCH,
            padding: 0,
        };
        call(PROG_TEST_RUN, &mut attributes)
            .map(drop)
            .attempt(|| format!("send {times} frames through link {ifindex}"))
    }
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are plain data laid out as the command expects, and what they point to outlives the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(answer).unwrap_or(-1))
}

fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel just returned this descriptor and nobody else holds it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURN_DROP: [Instruction; 2] = [
        Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 1 },
        Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
    ];

    fn root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: bpf(2) needs root");
        }
        root
    }

    #[test]
    fn numbers_come_back() {
        if !root() {
            return;
        }
        let map = NumberMap::new(2, 2).unwrap();
        map.set(1, [7, 9]).unwrap();
        assert_eq!((map.get(0).unwrap(), map.get(1).unwrap()), ([0u64, 0], [7u64, 9]));
        assert!(map.get::<2>(2).is_err());
    }

    #[test]
    fn a_program_that_the_verifier_refuses_is_told_why() {
        if !root() {
            return;
        }
        XdpProgram::load(&RETURN_DROP).unwrap();
        let error = XdpProgram::load(&RETURN_DROP[1..]).unwrap_err().to_string();
        assert!(error.contains("R0 !read_ok"), "{error}");
    }

    #[test]
    fn live_frames_run_on_a_link() {
        if !root() {
            return;
        }
        let program = XdpProgram::load(&RETURN_DROP).unwrap();
        let thread = std::thread::spawn(move || {
            crate::process::unshare(crate::process::Unshare::NET).unwrap();
            crate::netns::loopback_up().unwrap();
            program.run_live(&[0; 64], 1, 1000).unwrap();
            assert!(program.run_live(&[0; 64], 4711, 1).is_err());
        });
        thread.join().unwrap();
    }
}
