//! The interrupt descriptor table: one for all CPUs, because what differs between them is behind `gs`.

use crate::{cpu::OwnStack, exception, interrupt_entry, lock::MaskedLock};
use x86_64::{
    VirtAddr,
    instructions::tables,
    structures::DescriptorTablePointer,
};

/// Gates of 16 bytes. The `x86_64` crate's table has typed entries for nightly's interrupt ABI; ours are addresses.
#[repr(C, align(4096))]
struct Table([[u64; 2]; 256]);

static TABLE: MaskedLock<Table> = MaskedLock::new(Table([[0; 2]; 256]));

/// The vector that the local APIC raises when an interrupt went away; from here on the 8259s' spurious ones too.
pub const SPURIOUS_VECTOR: u8 = 0xff;
/// Where the first 8259 is moved to; the second one is 8 above. No device is in this class.
pub const PIC_VECTOR: u8 = 0xf0;
const CODE_SELECTOR: u64 = 8;

/// An interrupt gate, present, for ring 0.
fn gate(entry: u64, stack: u64) -> [u64; 2] {
    [entry & 0xffff | CODE_SELECTOR << 16 | stack << 32 | 0x8e << 40 | (entry >> 16 & 0xffff) << 48, entry >> 32]
}

/// The gates for exceptions, on whatever stack is in use.
pub fn init_exceptions() {
    let mut table = TABLE.lock();
    for vector in 0..32 {
        table.0[usize::from(vector)] = gate(exception::stub(vector), 0);
    }
}

/// The gates for interrupts, and stacks of their own for the exceptions that need one. The CPU has its TSS.
pub fn init_interrupts(x2apic: bool) {
    let mut table = TABLE.lock();
    for vector in 32..=u8::MAX {
        let entry = if vector >= PIC_VECTOR { interrupt_entry::spurious() } else { interrupt_entry::stub(vector, x2apic) };
        table.0[usize::from(vector)] = gate(entry, 0);
    }
    for (vector, stack) in [
        (2, OwnStack::Nmi),
        (8, OwnStack::DoubleFault),
        (14, OwnStack::PageFault),
        (18, OwnStack::MachineCheck),
    ] {
        table.0[usize::from(vector)] = gate(exception::stub(vector), stack as u64);
    }
}

/// Makes this CPU use the table.
pub fn load() {
    let pointer = DescriptorTablePointer {
        limit: (size_of::<Table>() - 1) as u16,
        base: VirtAddr::from_ptr(&raw const *TABLE.lock()),
    };
    // SAFETY: the table is a static, and every present gate leads to a stub.
    unsafe { tables::lidt(&pointer) };
}
