//! The two XDP programs.

use std::os::fd::{AsFd as _, AsRawFd as _};

use beeline_sys::bpf::{Instruction, NumberMap};

use super::{
    assembly::{Assembly, Op, Reg, Width},
    frame::Frame,
};

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;
const MAP_LOOKUP: i32 = 1;
/// Flows of one source address: this many bits of the flow's number are its port.
const PORT_BITS: i32 = 14;
const FIRST_PORT: i32 = 1024;
/// Offsets in the frame.
const IP_CHECKSUM: i16 = 24;
const IP_SOURCE_LOW: i16 = 28;
const UDP_SOURCE: i16 = 34;

/// Writes every header anew, since frames come back as they were left, and sends the frame out. The map holds the next
/// flow's number and the mask that makes numbers repeat.
pub fn sender(state: &NumberMap, frame: &Frame) -> Vec<Instruction> {
    let mut code = Assembly::default();
    let [scratch, flow, packet] = [Reg(1), Reg(8), Reg(7)];
    code.load(Width::Word, packet, Reg(1), 0);
    code.load(Width::Word, Reg(3), Reg(1), 4);
    code.register(Op::Move, Reg(4), packet);
    code.constant(Op::Add, Reg(4), i32::try_from(frame.bytes().len()).unwrap_or_default());
    code.end_if_greater(Reg(4), Reg(3));
    look_up(&mut code, state);
    code.load(Width::Double, flow, Reg(0), 0);
    code.register(Op::Move, scratch, flow);
    code.constant(Op::Add, scratch, 1);
    code.store(Width::Double, Reg(0), 0, scratch);
    code.load(Width::Double, scratch, Reg(0), 8);
    code.register(Op::And, flow, scratch);
    let mut offset = 0;
    for word in frame.words() {
        code.store_constant(Width::Word, packet, offset, word);
        offset += 4;
    }
    source_address(&mut code, packet, flow, frame.sum());
    code.constant(Op::And, flow, (1 << PORT_BITS) - 1);
    code.constant(Op::Add, flow, FIRST_PORT);
    code.big_endian16(flow);
    code.store(Width::Half, packet, UDP_SOURCE, flow);
    code.exit(XDP_TX);
    code.finish(XDP_DROP)
}

/// The flow's upper bits are the address's lower half; the checksum follows.
fn source_address(code: &mut Assembly, packet: Reg, flow: Reg, sum: u16) {
    let [half, sums, carry] = [Reg(1), Reg(2), Reg(3)];
    code.register(Op::Move, half, flow);
    code.constant(Op::Right, half, PORT_BITS);
    code.constant(Op::And, half, 0xffff);
    code.store(Width::Half, packet, IP_SOURCE_LOW, half);
    code.register(Op::Move, sums, half);
    code.constant(Op::Add, sums, i32::from(sum));
    code.register(Op::Move, carry, sums);
    code.constant(Op::Right, carry, 16);
    code.constant(Op::And, sums, 0xffff);
    // Two numbers of sixteen bits carry at most once, and the sum with the carry fits.
    code.register(Op::Add, sums, carry);
    code.constant(Op::Xor, sums, 0xffff);
    code.store(Width::Half, packet, IP_CHECKSUM, sums);
}

/// Counts and drops.
pub fn receiver(count: &NumberMap) -> Vec<Instruction> {
    let mut code = Assembly::default();
    look_up(&mut code, count);
    code.load(Width::Double, Reg(1), Reg(0), 0);
    code.constant(Op::Add, Reg(1), 1);
    code.store(Width::Double, Reg(0), 0, Reg(1));
    code.exit(XDP_DROP);
    code.finish(XDP_DROP)
}

/// `r0` = the map's only entry.
fn look_up(code: &mut Assembly, map: &NumberMap) {
    code.store_constant(Width::Word, Reg(10), -4, 0);
    code.map(Reg(1), map.as_fd().as_raw_fd());
    code.register(Op::Move, Reg(2), Reg(10));
    code.constant(Op::Add, Reg(2), -4);
    code.call(MAP_LOOKUP);
    code.end_if_zero(Reg(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame { to_mac: [2; 6], from_mac: [4; 6], to: "10.64.0.1:30000".parse().unwrap() }
    }

    #[test]
    fn a_frame_is_a_small_udp_datagram_that_repeats_in_words() {
        let bytes = frame().bytes();
        assert_eq!((bytes.len(), &bytes[12..16]), (60, &[8, 0, 0x45, 0][..]));
        assert_eq!(&bytes[26..30], &[198, 19, 0, 0]);
        assert_eq!(&bytes[36..40], &[0x75, 0x30, 0, 26]);
        let again: Vec<u8> = frame().words().iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(again, bytes[..44]);
    }

    #[test]
    fn the_checksum_is_the_complement_of_the_sum() {
        let mut bytes = frame().bytes();
        bytes[24..26].copy_from_slice(&(!frame().sum()).to_ne_bytes());
        let halves = bytes[14..34].chunks(2);
        let sum: u32 = halves.map(|half| u32::from(u16::from_be_bytes([half[0], half[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn the_verifier_takes_both() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: loading programs needs root");
            return;
        }
        let state = NumberMap::new(1, 2).unwrap();
        beeline_sys::bpf::XdpProgram::load(&sender(&state, &frame())).unwrap();
        beeline_sys::bpf::XdpProgram::load(&receiver(&state)).unwrap();
    }
}
