//! The kernel's code as the trace runs through it: instructions decoded, functions named.

use crate::symbols::Symbols;
use anyhow::{Context, Result, bail};
use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, Mnemonic, OpKind, Register,
};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use std::{cell::RefCell, collections::HashMap, fs, ops::Range, path::Path, rc::Rc};

/// Where `hal-x86_64` maps the local APIC's registers.
const LOCAL_APIC: Range<u64> = 0xffff_ffff_fee0_0000..0xffff_ffff_fee0_1000;

/// One kernel's executable sections and symbols.
pub struct Code<'a> {
    symbols: &'a Symbols,
    sections: Vec<(u64, Vec<u8>)>,
    functions: HashMap<String, u64>,
    frames: RefCell<HashMap<u64, Rc<[Frame]>>>,
}

/// A function at an address, inlined or not.
#[derive(Debug, PartialEq)]
pub struct Frame {
    /// Its path, without rustc's hash.
    pub function: String,
    /// Whether it is one of Rust's own libraries.
    pub in_library: bool,
}

impl<'a> Code<'a> {
    /// The code of the ELF at `kernel`, whose debug information is `symbols`.
    pub fn load(kernel: &Path, symbols: &'a Symbols) -> Result<Self> {
        let bytes = fs::read(kernel).with_context(|| format!("{} cannot be read", kernel.display()))?;
        let file = object::File::parse(&*bytes).with_context(|| format!("{} is no ELF", kernel.display()))?;
        let mut sections = Vec::new();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            sections.push((section.address(), section.data()?.to_vec()));
        }
        let mut functions = HashMap::new();
        for symbol in file.symbols() {
            let name = addr2line::demangle_auto(symbol.name()?.into(), None);
            functions.insert(without_hash(&name).to_owned(), symbol.address());
        }
        Ok(Code { symbols, sections, functions, frames: RefCell::default() })
    }

    /// The address of the symbol `name`: a path as Rust writes it, or assembly's name.
    pub fn address_of(&self, name: &str) -> Result<u64> {
        self.functions.get(name).copied().with_context(|| format!("the kernel has no symbol {name}"))
    }

    /// The instruction at `address`.
    pub fn instruction(&self, address: u64) -> Result<Instruction> {
        let here = |(start, bytes): &&(u64, Vec<u8>)| (*start..*start + bytes.len() as u64).contains(&address);
        let (start, bytes) = self.sections.iter().find(here).with_context(|| format!("no code at {address:#x}"))?;
        let bytes = &bytes[(address - start) as usize..];
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            bail!("no instruction at {address:#x}");
        }
        Ok(instruction)
    }

    /// The functions at `address`, the innermost inlined one first.
    pub fn functions(&self, address: u64) -> Rc<[Frame]> {
        let frame = |text: &String| {
            let (function, place) = text.split_once(" at ").unwrap_or((text, ""));
            Frame { function: without_hash(function).into(), in_library: place.starts_with("library/") }
        };
        let find = || self.symbols.functions(address).iter().map(frame).collect();
        self.frames.borrow_mut().entry(address).or_insert_with(find).clone()
    }

    /// Whether `address` belongs to a function of the name `function`, inlined or not, or to a closure in it.
    pub fn is_in(&self, address: u64, function: &str) -> bool {
        self.functions(address).iter().any(|frame| frame.function.split("::").any(|part| part == function))
    }

    /// What the instruction at `address` touches besides registers and memory.
    pub fn accesses(&self, address: u64) -> Result<Accesses> {
        Ok(Accesses::of(&self.instruction(address)?))
    }

    /// The instruction at `address` as text.
    pub fn text(&self, address: u64) -> Result<String> {
        let mut text = String::new();
        let mut formatter = IntelFormatter::new();
        formatter.options_mut().set_rip_relative_addresses(true);
        formatter.format(&self.instruction(address)?, &mut text);
        Ok(text)
    }
}

/// A demangled name without the hash that rustc appends.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

/// Whether the instruction writes memory.
pub fn stores(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Mov && instruction.op0_kind() == OpKind::Memory
}

/// What costs more than an instruction, counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Accesses {
    pub cr8_reads: f64,
    pub cr8_writes: f64,
    pub apic: f64,
    pub atomics: f64,
}

impl Accesses {
    fn of(instruction: &Instruction) -> Self {
        let one_if = |yes| if yes { 1.0 } else { 0.0 };
        let memory = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
        let absolute = instruction.memory_base() == Register::None && instruction.segment_prefix() == Register::None;
        let in_apic = memory && absolute && LOCAL_APIC.contains(&instruction.memory_displacement64());
        let model_specific = matches!(instruction.mnemonic(), Mnemonic::Rdmsr | Mnemonic::Wrmsr);
        let exchange = instruction.mnemonic() == Mnemonic::Xchg && memory;
        Accesses {
            cr8_reads: one_if(instruction.code() == Opcode::Mov_r64_cr && instruction.op1_register() == Register::CR8),
            cr8_writes: one_if(instruction.code() == Opcode::Mov_cr_r64 && instruction.op0_register() == Register::CR8),
            apic: one_if(in_apic || model_specific),
            atomics: one_if(instruction.has_lock_prefix() || exchange),
        }
    }

    /// Combines the counts one by one.
    pub fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Accesses {
            cr8_reads: f(self.cr8_reads, other.cr8_reads),
            cr8_writes: f(self.cr8_writes, other.cr8_writes),
            apic: f(self.apic, other.apic),
            atomics: f(self.atomics, other.atomics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accesses(bytes: &[u8]) -> [f64; 4] {
        let found = Accesses::of(&Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode());
        [found.cr8_reads, found.cr8_writes, found.apic, found.atomics]
    }

    #[test]
    fn what_costs_more_is_told_from_plain_instructions() {
        assert_eq!(accesses(&[0x44, 0x0f, 0x20, 0xc0]), [1.0, 0.0, 0.0, 0.0], "mov rax, cr8");
        assert_eq!(accesses(&[0x44, 0x0f, 0x22, 0xc0]), [0.0, 1.0, 0.0, 0.0], "mov cr8, rax");
        assert_eq!(accesses(&[0x0f, 0x22, 0xd8]), [0.0; 4], "mov cr3, rax");
        let end_of_interrupt = [0xc7, 0x04, 0x25, 0xb0, 0x00, 0xe0, 0xfe, 0, 0, 0, 0];
        assert_eq!(accesses(&end_of_interrupt), [0.0, 0.0, 1.0, 0.0], "mov dword ptr [0xfffffffffee000b0], 0");
        assert_eq!(accesses(&[0x0f, 0x30]), [0.0, 0.0, 1.0, 0.0], "wrmsr");
        assert_eq!(accesses(&[0xf0, 0x0f, 0xba, 0x2f, 0x00]), [0.0, 0.0, 0.0, 1.0], "lock bts dword ptr [rdi], 0");
        assert_eq!(accesses(&[0x87, 0x07]), [0.0, 0.0, 0.0, 1.0], "xchg [rdi], eax");
        assert_eq!(accesses(&[0x87, 0xc3]), [0.0; 4], "xchg ebx, eax");
        assert_eq!(accesses(&[0x89, 0x07]), [0.0; 4], "mov [rdi], eax");
    }

    #[test]
    fn a_name_loses_its_hash_and_nothing_else() {
        assert_eq!(without_hash("kernel::mark::h0123456789abcdef"), "kernel::mark");
        assert_eq!(without_hash("kernel::heap::h"), "kernel::heap::h");
    }
}
