//! The simulated PCI bus: one host bridge, its configuration space behind ECAM, memory BARs, MSI.
//!
//! Device memory has physical addresses like a PC's, so the bus code that walks real hardware walks this. Firmware has
//! placed the BARs; everything else (decoding, bus master, MSI) is off until software turns it on.

mod function;

use crate::model::{BusAccess, Model, Step};
use function::Function;
use ke::hal::MsiMessage;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Physical address of the configuration space of bus 0, as in ACPI's MCFG table.
pub const ECAM_BASE: u64 = 0xb000_0000;
/// The buses that the window covers: bus 0 alone.
pub const ECAM_BUSES: std::ops::RangeInclusive<u8> = 0..=0;

/// What firmware says about the simulated machine's PCI: where `io::Bus::enumerate` finds the devices.
pub fn platform() -> io::Platform {
    let region =
        io::EcamRegion { physical: ECAM_BASE, segment: 0, first_bus: *ECAM_BUSES.start(), last_bus: *ECAM_BUSES.end() };
    // SAFETY: addresses on the simulated machine are numbers that it decodes; nothing but this bus answers there.
    unsafe { io::Platform::new(vec![region], Vec::new()) }
}

const ECAM_SIZE: u64 = 1 << 20;
const BARS_BELOW_4G: u64 = 0xfe00_0000;
const BARS_ABOVE_4G: u64 = 0x80_0000_0000;
/// Added to a physical address to make the address that the core sees: not a pointer to anything.
const VIRTUAL_BASE: u64 = 0x1000_0000_0000;
/// Where message writes go, and the CPU's place in the address, as on a PC.
const MSI_ADDRESS: u64 = 0xfee0_0000;
const MSI_CPU_SHIFT: u32 = 12;

/// The message that raises `vector` on `cpu`.
pub(crate) fn encode_message(cpu: u32, vector: u8) -> MsiMessage {
    MsiMessage { address: MSI_ADDRESS | u64::from(cpu) << MSI_CPU_SHIFT, data: vector.into() }
}

/// Who gets a message written by a device; `None` for a write that is no message to any CPU.
pub(crate) fn decode_message(message: MsiMessage, cpus: usize) -> Option<(usize, u8)> {
    let cpu = (message.address.checked_sub(MSI_ADDRESS)? >> MSI_CPU_SHIFT) as usize;
    (cpu < cpus && message.address & 0xfff == 0).then_some((cpu, message.data as u8))
}

/// The address at which the core sees device memory at `physical`.
pub(crate) fn map(physical: u64) -> usize {
    (VIRTUAL_BASE + physical) as usize
}

/// One slot of the bus.
pub(crate) struct Slot {
    pub(crate) name: String,
    function: Function,
    model: Arc<Mutex<dyn Model>>,
    gone: bool,
    /// The interrupt line that its pin leads to.
    line: Option<u32>,
    /// Whether it asserts the pin.
    asserts: bool,
    /// How many messages the device has sent, and how often it has driven its line.
    pub(crate) signals: u64,
}

/// What an access or a step of a device did to the rest of the machine.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sent: Vec<MsiMessage>,
    /// The line, as the device drove it.
    pub(crate) line: Vec<bool>,
    pub(crate) fault: Option<String>,
}

/// Where an access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Config { slot: usize, offset: usize },
    Bar { slot: usize, bar: usize, offset: u64 },
    Nothing,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config { slot, offset } => write!(f, "slot {} config {offset:#05x}", slot + 1),
            Self::Bar { slot, bar, offset } => write!(f, "slot {} BAR{bar}+{offset:#04x}", slot + 1),
            Self::Nothing => write!(f, "nothing there:"),
        }
    }
}

impl Slot {
    fn drives(&self) -> bool {
        self.asserts && !self.gone && !self.function.interrupt_disabled()
    }
}

pub(crate) struct PciBus {
    slots: Vec<Slot>,
    next_below_4g: u64,
    next_above_4g: u64,
}

impl PciBus {
    pub(crate) fn new() -> Self {
        PciBus { slots: Vec::new(), next_below_4g: BARS_BELOW_4G, next_above_4g: BARS_ABOVE_4G }
    }

    /// Plugs a device into the next slot.
    pub(crate) fn plug(&mut self, model: Arc<Mutex<dyn Model>>) -> usize {
        let identity = lock(&model).identity();
        let mut function = Function::new(&identity);
        for (n, bar) in identity.bars.iter().enumerate() {
            let next = if bar.wide { &mut self.next_above_4g } else { &mut self.next_below_4g };
            let base = next.next_multiple_of(bar.size);
            *next = base + bar.size;
            function.place_bar(n, base);
        }
        let slot = self.slots.len();
        let name = format!("{:04x}:{:04x} in slot {}", identity.vendor, identity.device, slot + 1);
        self.slots.push(Slot { name, function, model, gone: false, line: None, asserts: false, signals: 0 });
        slot
    }

    /// Leads the interrupt pin of the device in `slot` to line `gsi`.
    pub(crate) fn wire(&mut self, slot: usize, gsi: u32) {
        let slot = &mut self.slots[slot];
        slot.function.give_pin();
        slot.line = Some(gsi);
    }

    /// The line that the device in `slot` drives.
    pub(crate) fn line_of(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot)?.line
    }

    /// The device in `slot` drives its pin. What reaches the line of it: nothing of a device that is gone or whose
    /// interrupt is disabled in its command register.
    pub(crate) fn drive(&mut self, slot: usize, asserts: bool) -> bool {
        let slot = &mut self.slots[slot];
        slot.asserts = asserts;
        slot.drives()
    }

    /// Whether the device in `slot` drives its line.
    pub(crate) fn drives(&self, slot: usize) -> bool {
        self.slots[slot].drives()
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The device leaves: all ones from here on.
    pub(crate) fn unplug(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.gone = true;
        lock(&slot.model).removed();
    }

    pub(crate) fn decode(&self, address: usize) -> Target {
        let physical = (address as u64).wrapping_sub(VIRTUAL_BASE);
        if let Some(offset) = physical.checked_sub(ECAM_BASE).filter(|offset| *offset < ECAM_SIZE) {
            // Device 0 would be the host bridge's own function, which software has no use for.
            let (device, function) = (offset >> 15, offset >> 12 & 7);
            let slot = (device as usize).wrapping_sub(1);
            let present = function == 0 && self.slots.get(slot).is_some_and(|slot| !slot.gone);
            return if present { Target::Config { slot, offset: (offset & 0xfff) as usize } } else { Target::Nothing };
        }
        for (n, slot) in self.slots.iter().enumerate().filter(|(_, slot)| !slot.gone) {
            if let Some((bar, offset)) = slot.function.decode(physical) {
                return Target::Bar { slot: n, bar, offset };
            }
        }
        Target::Nothing
    }

    pub(crate) fn config_read(&self, slot: usize, offset: usize, width: usize) -> u64 {
        self.slots[slot].function.read(offset, width)
    }

    pub(crate) fn config_write(&mut self, slot: usize, offset: usize, width: usize, value: u64) {
        self.slots[slot].function.write(offset, width, value);
    }

    /// Whether the device in `slot` could raise an interrupt by a message.
    pub(crate) fn can_interrupt(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        !slot.gone && slot.function.bus_master() && slot.function.msi().is_some()
    }

    pub(crate) fn interrupt_status(&self, slot: usize) -> u64 {
        let slot = &self.slots[slot];
        if slot.gone { 0 } else { lock(&slot.model).interrupt_status() }
    }

    /// The steps that the device in `slot` could take.
    pub(crate) fn steps(&self, slot: usize, steps: &mut Vec<Step>) {
        let slot = &self.slots[slot];
        if !slot.gone {
            lock(&slot.model).steps(steps);
        }
    }

    /// Runs `f` on the model in `slot`.
    pub(crate) fn with_model<R>(
        &mut self,
        slot: usize,
        memory: &mut crate::memory::Memory,
        now: u64,
        f: impl FnOnce(&mut dyn Model, &mut BusAccess<'_>) -> R,
    ) -> (R, Effects) {
        let model = self.slots[slot].model.clone();
        self.with_access(slot, memory, now, |bus| f(&mut *lock(&model), bus))
    }

    /// Runs `f`, which has the model in `slot`, with what the device can do to the machine.
    pub(crate) fn with_access<R>(
        &mut self,
        slot: usize,
        memory: &mut crate::memory::Memory,
        now: u64,
        f: impl FnOnce(&mut BusAccess<'_>) -> R,
    ) -> (R, Effects) {
        let here = &mut self.slots[slot];
        let mut access = BusAccess {
            memory,
            now,
            bus_master: here.function.bus_master(),
            msi: here.function.msi(),
            msi_vectors: here.function.msi_vectors(),
            sent: Vec::new(),
            line: Vec::new(),
            fault: None,
            leave: false,
        };
        let result = f(&mut access);
        let BusAccess { sent, line, fault, leave, .. } = access;
        here.signals += (sent.len() + line.len()) as u64;
        if leave {
            self.unplug(slot);
        }
        (result, Effects { sent, line, fault })
    }
}

/// A model's mutex is never contended, as one thread of execution runs at a time; a panic inside has failed the run.
pub(crate) fn lock<M: ?Sized>(model: &Mutex<M>) -> MutexGuard<'_, M> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::Memory,
        model::{Bar, Edu, Identity},
    };

    fn ecam(slot: u64, offset: u64) -> usize {
        map(ECAM_BASE + ((slot + 1) << 15) + offset)
    }

    fn config(bus: &PciBus, offset: u64, width: usize) -> u64 {
        match bus.decode(ecam(0, offset)) {
            Target::Config { slot, offset } => bus.config_read(slot, offset, width),
            other => panic!("not configuration space: {other:?}"),
        }
    }

    fn set_config(bus: &mut PciBus, offset: u64, width: usize, value: u64) {
        match bus.decode(ecam(0, offset)) {
            Target::Config { slot, offset } => bus.config_write(slot, offset, width, value),
            other => panic!("not configuration space: {other:?}"),
        }
    }

    struct Wide;
    impl Model for Wide {
        fn identity(&self) -> Identity {
            Identity { bars: vec![Bar::memory64(1 << 33)], ..Identity::new(1, 2) }
        }
        fn read(&mut self, bar: usize, offset: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
            bar as u64 + offset
        }
        fn write(&mut self, _: usize, _: u64, _: usize, _: u64, _: &mut BusAccess<'_>) {}
    }

    #[test]
    fn a_bar_is_sized_by_writing_ones_and_decodes_when_memory_is_on() {
        let mut bus = PciBus::new();
        bus.plug(Arc::new(Mutex::new(Edu::new())));
        assert_eq!(config(&bus, 0x00, 4), 0x11e8_1234);
        let base = config(&bus, 0x10, 4);
        set_config(&mut bus, 0x10, 4, 0xffff_ffff);
        assert_eq!(config(&bus, 0x10, 4), 0xfff0_0000);
        set_config(&mut bus, 0x10, 4, base);
        assert_eq!(bus.decode(map(base + 0x24)), Target::Nothing);
        set_config(&mut bus, 0x04, 2, 0xffff);
        assert_eq!(config(&bus, 0x04, 2), 0x0406);
        assert_eq!(bus.decode(map(base + 0x24)), Target::Bar { slot: 0, bar: 0, offset: 0x24 });
        bus.unplug(0);
        assert_eq!(bus.decode(map(base + 0x24)), Target::Nothing);
        assert_eq!(bus.decode(ecam(0, 0)), Target::Nothing);
    }

    #[test]
    fn a_64_bit_bar_lies_above_4_gib_and_takes_two_slots_of_the_header() {
        let mut bus = PciBus::new();
        bus.plug(Arc::new(Mutex::new(Wide)));
        let base = config(&bus, 0x14, 4) << 32 | config(&bus, 0x10, 4) & !0xf;
        assert!(base > u32::MAX.into());
        assert_eq!(config(&bus, 0x10, 4) & 0xf, 0x4);
        set_config(&mut bus, 0x10, 4, 0xffff_ffff);
        set_config(&mut bus, 0x14, 4, 0xffff_ffff);
        assert_eq!(config(&bus, 0x14, 4) << 32 | config(&bus, 0x10, 4) & !0xf, !((1 << 33) - 1));
    }

    #[test]
    fn an_interrupt_leaves_only_as_programmed() {
        let mut bus = PciBus::new();
        bus.plug(Arc::new(Mutex::new(Edu::new())));
        let mut memory = Memory::new();
        let mut raise = |bus: &mut PciBus| {
            let write = |model: &mut dyn Model, access: &mut BusAccess<'_>| model.write(0, 0x60, 4, 1, access);
            bus.with_model(0, &mut memory, 0, write).1.sent
        };
        let message = encode_message(3, 0x51);
        let capability = config(&bus, 0x34, 1);
        assert_eq!(config(&bus, capability, 1), 0x05);
        set_config(&mut bus, capability + 4, 4, message.address);
        set_config(&mut bus, capability + 12, 2, message.data.into());
        set_config(&mut bus, capability + 2, 2, 1);
        assert_eq!(raise(&mut bus), []);
        set_config(&mut bus, 0x04, 2, 4);
        assert_eq!(raise(&mut bus), [message]);
        assert_eq!((decode_message(message, 4), decode_message(message, 3)), (Some((3, 0x51)), None));
    }
}
