//! The few BPF instructions that our two programs are made of, and jumps to a common end.

use beeline_sys::bpf::Instruction;

/// A register.
#[derive(Clone, Copy, Debug)]
pub struct Reg(pub u8);

/// Width of a memory access.
#[derive(Clone, Copy, Debug)]
pub enum Width {
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
    /// Eight bytes.
    Double,
}

impl Width {
    fn bits(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Half => 0x08,
            Self::Double => 0x18,
        }
    }
}

/// Operations of the 64-bit arithmetic unit.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Add.
    Add = 0x00,
    /// And.
    And = 0x50,
    /// Shift right.
    Right = 0x70,
    /// Exclusive or.
    Xor = 0xa0,
    /// Move.
    Move = 0xb0,
}

/// A program in the making.
#[derive(Debug, Default)]
pub struct Assembly {
    code: Vec<Instruction>,
    /// Jumps whose target is not known yet.
    to_end: Vec<usize>,
}

const END: Reg = Reg(0);

impl Assembly {
    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) {
        let registers = to.0 | from.0 << 4;
        self.code.push(Instruction { code, registers, offset, immediate });
    }

    /// `to = to op constant`.
    pub fn constant(&mut self, op: Op, to: Reg, value: i32) {
        self.push(0x07 | op as u8, to, END, 0, value);
    }

    /// `to = to op from`.
    pub fn register(&mut self, op: Op, to: Reg, from: Reg) {
        self.push(0x0f | op as u8, to, from, 0, 0);
    }

    /// Sixteen bits in the order of the wire.
    pub fn big_endian16(&mut self, to: Reg) {
        self.push(0xdc, to, END, 0, 16);
    }

    /// `to = *(from + offset)`.
    pub fn load(&mut self, width: Width, to: Reg, from: Reg, offset: i16) {
        self.push(0x61 | width.bits(), to, from, offset, 0);
    }

    /// `*(to + offset) = from`.
    pub fn store(&mut self, width: Width, to: Reg, offset: i16, from: Reg) {
        self.push(0x63 | width.bits(), to, from, offset, 0);
    }

    /// `*(to + offset) = constant`.
    pub fn store_constant(&mut self, width: Width, to: Reg, offset: i16, value: i32) {
        self.push(0x62 | width.bits(), to, END, offset, value);
    }

    /// `to` = the map behind a descriptor.
    pub fn map(&mut self, to: Reg, descriptor: i32) {
        self.push(0x18, to, Reg(1), 0, descriptor);
        self.push(0, END, END, 0, 0);
    }

    /// Call a helper of the kernel.
    pub fn call(&mut self, helper: i32) {
        self.push(0x85, END, END, 0, helper);
    }

    /// To the end if `left > right`.
    pub fn end_if_greater(&mut self, left: Reg, right: Reg) {
        self.to_end.push(self.code.len());
        self.push(0x2d, left, right, 0, 0);
    }

    /// To the end if `left == 0`.
    pub fn end_if_zero(&mut self, left: Reg) {
        self.to_end.push(self.code.len());
        self.push(0x15, left, END, 0, 0);
    }

    /// Return a constant.
    pub fn exit(&mut self, value: i32) {
        self.constant(Op::Move, Reg(0), value);
        self.push(0x95, END, END, 0, 0);
    }

    /// Everything that jumped to the end comes here and returns a constant.
    pub fn finish(mut self, value: i32) -> Vec<Instruction> {
        let end = self.code.len();
        for jump in std::mem::take(&mut self.to_end) {
            self.code[jump].offset = i16::try_from(end - jump - 1).unwrap_or(i16::MAX);
        }
        self.exit(value);
        self.code
    }
}
