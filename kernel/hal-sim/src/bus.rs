//! The simulated buses: PCI with one host bridge, its configuration space behind ECAM, memory BARs, MSI and MSI-X; and
//! ISA, whose devices answer at fixed ports.
//!
//! Device memory has physical addresses like a PC's, so the bus code that walks real hardware walks this. Firmware has
//! placed the BARs; everything else (decoding, bus master, messages) is off until software turns it on.

mod function;
mod msix;

pub(crate) use function::Function;

use crate::model::{BusAccess, IsaDevice, IsaModel, Model, PciModel, Step};
use io::Polarity;
use ke::hal::MsiMessage;
use msix::Part;
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Physical address of the configuration space of bus 0, as in ACPI's MCFG table.
pub const ECAM_BASE: u64 = 0xb000_0000;
/// The buses that the window covers: bus 0 alone.
pub const ECAM_BUSES: std::ops::RangeInclusive<u8> = 0..=0;

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

/// One device and where it sits.
pub(crate) struct Slot {
    pub(crate) name: String,
    place: Place,
    model: Arc<Mutex<dyn Model>>,
    gone: bool,
    wires: Vec<Wire>,
    /// How many messages the device has sent, and how often it has driven a line.
    pub(crate) signals: u64,
}

/// What a device answers at.
enum Place {
    Pci(Box<Function>),
    Isa(Vec<Range<u16>>),
}

/// Where one of a device's interrupt outputs leads.
#[derive(Debug)]
struct Wire {
    gsi: u32,
    /// Whether the device asserts it.
    asserts: bool,
}

/// What an access or a step of a device did to the rest of the machine.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sent: Vec<MsiMessage>,
    /// Which of its lines the device drove, and how.
    pub(crate) lines: Vec<(usize, bool)>,
    pub(crate) fault: Option<String>,
    /// It left the bus.
    pub(crate) left: bool,
}

/// Where an access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Config { slot: usize, offset: usize },
    Bar { slot: usize, bar: usize, offset: u64 },
    MsiX { slot: usize, part: Part, offset: u64 },
    Ports { slot: usize, range: usize, offset: u16 },
    Nothing,
}

impl Target {
    /// Who answers.
    pub(crate) fn slot(self) -> Option<usize> {
        match self {
            Target::Config { slot, .. }
            | Target::Bar { slot, .. }
            | Target::MsiX { slot, .. }
            | Target::Ports { slot, .. } => Some(slot),
            Target::Nothing => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config { slot, offset } => write!(f, "slot {} config {offset:#05x}", slot + 1),
            Self::Bar { slot, bar, offset } => write!(f, "slot {} BAR{bar}+{offset:#04x}", slot + 1),
            Self::MsiX { slot, part, offset } => write!(f, "slot {} {part}+{offset:#04x}", slot + 1),
            Self::Ports { slot, range, offset } => write!(f, "slot {} ports {range}+{offset:#x}", slot + 1),
            Self::Nothing => write!(f, "nothing there:"),
        }
    }
}

impl Slot {
    fn function(&self) -> Option<&Function> {
        match &self.place {
            Place::Pci(function) => Some(function),
            Place::Isa(_) => None,
        }
    }

    fn drives(&self, wire: usize) -> bool {
        let disabled = self.function().is_some_and(Function::interrupt_disabled);
        self.wires.get(wire).is_some_and(|wire| wire.asserts) && !self.gone && !disabled
    }
}

pub(crate) struct Buses {
    slots: Vec<Slot>,
    isa: Vec<IsaDevice>,
    next_below_4g: u64,
    next_above_4g: u64,
}

impl Buses {
    pub(crate) fn new() -> Self {
        Buses { slots: Vec::new(), isa: Vec::new(), next_below_4g: BARS_BELOW_4G, next_above_4g: BARS_ABOVE_4G }
    }

    /// Plugs a function into the next slot.
    pub(crate) fn plug(&mut self, model: Arc<Mutex<impl PciModel>>) -> usize {
        let identity = lock(&*model).identity();
        let mut function = Function::new(&identity);
        for (n, bar) in identity.bars.iter().enumerate() {
            let next = if bar.wide { &mut self.next_above_4g } else { &mut self.next_below_4g };
            let base = next.next_multiple_of(bar.size);
            *next = base + bar.size;
            function.place_bar(n, base);
        }
        let name = format!("{:04x}:{:04x} in slot {}", identity.vendor, identity.device, self.slots.len() + 1);
        self.add(name, Place::Pci(Box::new(function)), model, Vec::new())
    }

    /// Puts a device where it always is.
    pub(crate) fn install(&mut self, model: Arc<Mutex<impl IsaModel>>) -> usize {
        let devices = lock(&*model).devices();
        let ports = devices.iter().flat_map(|device| device.ports.iter().cloned()).collect();
        let wires = devices.iter().flat_map(|device| &device.lines);
        let wires = wires.map(|line| Wire { gsi: line.gsi, asserts: false }).collect();
        let name = devices.first().map_or("nameless", |device| device.hid).to_owned();
        self.isa.extend(devices);
        self.add(name, Place::Isa(ports), model, wires)
    }

    fn add(&mut self, name: String, place: Place, model: Arc<Mutex<dyn Model>>, wires: Vec<Wire>) -> usize {
        self.slots.push(Slot { name, place, model, gone: false, wires, signals: 0 });
        self.slots.len() - 1
    }

    /// Leads the interrupt pin of the function in `slot` to line `gsi`.
    pub(crate) fn wire(&mut self, slot: usize, gsi: u32) {
        let slot = &mut self.slots[slot];
        let Place::Pci(function) = &mut slot.place else { panic!("{} has the lines that it has", slot.name) };
        function.give_pin();
        slot.wires = vec![Wire { gsi, asserts: false }];
    }

    /// What ACPI says about the devices that no bus announces.
    pub(crate) fn isa_devices(&self) -> &[IsaDevice] {
        &self.isa
    }

    /// Every line that something is wired to, and the state that asserts it.
    pub(crate) fn wired(&self) -> Vec<(u32, Polarity)> {
        let pins = self.slots.iter().filter(|slot| slot.function().is_some());
        let pins = pins.flat_map(|slot| slot.wires.iter().map(|wire| (wire.gsi, Polarity::ActiveLow)));
        let lines = self.isa.iter().flat_map(|device| device.lines.iter().map(|line| (line.gsi, line.polarity)));
        pins.chain(lines).collect()
    }

    /// The lines that the device in `slot` drives, in its own order.
    pub(crate) fn lines_of(&self, slot: usize) -> impl Iterator<Item = u32> + '_ {
        self.slots.get(slot).into_iter().flat_map(|slot| slot.wires.iter().map(|wire| wire.gsi))
    }

    /// The device in `slot` drives output `wire`, if that leads anywhere.
    pub(crate) fn drive(&mut self, slot: usize, wire: usize, asserts: bool) {
        if let Some(wire) = self.slots[slot].wires.get_mut(wire) {
            wire.asserts = asserts;
        }
    }

    /// What reaches the line of it: nothing of a device that is gone or whose interrupt is disabled in its command register.
    pub(crate) fn drives(&self, slot: usize, wire: usize) -> bool {
        self.slots[slot].drives(wire)
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
            let there = |slot: &Slot| !slot.gone && slot.function().is_some();
            let present = function == 0 && self.slots.get(slot).is_some_and(there);
            return if present { Target::Config { slot, offset: (offset & 0xfff) as usize } } else { Target::Nothing };
        }
        for (slot, here) in self.slots.iter().enumerate().filter(|(_, slot)| !slot.gone) {
            let Some(function) = here.function() else { continue };
            if let Some((bar, offset)) = function.decode(physical) {
                return match function.msix_at(bar, offset) {
                    Some((part, offset)) => Target::MsiX { slot, part, offset },
                    None => Target::Bar { slot, bar, offset },
                };
            }
        }
        Target::Nothing
    }

    /// Who answers at `width` ports from `port`.
    pub(crate) fn decode_port(&self, port: u16, width: usize) -> Target {
        for (slot, here) in self.slots.iter().enumerate() {
            let Place::Isa(ranges) = &here.place else { continue };
            let inside = |range: &Range<u16>| range.contains(&port) && usize::from(range.end - port) >= width;
            if let Some(range) = ranges.iter().position(inside) {
                return Target::Ports { slot, range, offset: port - ranges[range].start };
            }
        }
        Target::Nothing
    }

    pub(crate) fn config_read(&self, slot: usize, offset: usize, width: usize) -> u64 {
        self.function(slot).read(offset, width)
    }

    /// Messages that were pending may leave.
    pub(crate) fn config_write(&mut self, slot: usize, offset: usize, width: usize, value: u64) -> Effects {
        let sent = self.function_mut(slot).write(offset, width, value);
        self.sent(slot, sent)
    }

    pub(crate) fn msix_read(&self, slot: usize, part: Part, offset: u64, width: usize) -> u64 {
        self.function(slot).msix_read(part, offset, width)
    }

    /// Messages that were pending may leave. The fault is a use of the table that the specification leaves undefined.
    pub(crate) fn msix_write(&mut self, slot: usize, part: Part, offset: u64, width: usize, value: u64) -> Effects {
        match self.function_mut(slot).msix_write(part, offset, width, value) {
            Ok(sent) => self.sent(slot, sent),
            Err(fault) => Effects { fault: Some(fault), ..Effects::default() },
        }
    }

    fn sent(&mut self, slot: usize, sent: Vec<MsiMessage>) -> Effects {
        self.slots[slot].signals += sent.len() as u64;
        Effects { sent, ..Effects::default() }
    }

    fn function(&self, slot: usize) -> &Function {
        self.slots[slot].function().expect("only functions have configuration space")
    }

    fn function_mut(&mut self, slot: usize) -> &mut Function {
        match &mut self.slots[slot].place {
            Place::Pci(function) => function,
            Place::Isa(_) => unreachable!("only functions have configuration space"),
        }
    }

    /// Whether the device in `slot` could raise an interrupt by a message.
    pub(crate) fn can_interrupt(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        !slot.gone && slot.function().is_some_and(Function::can_send)
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
        let function = match &mut here.place {
            Place::Pci(function) => Some(&mut **function),
            Place::Isa(_) => None,
        };
        let mut access =
            BusAccess { memory, now, function, sent: Vec::new(), lines: Vec::new(), fault: None, leave: false };
        let result = f(&mut access);
        let BusAccess { sent, lines, fault, leave, .. } = access;
        here.signals += (sent.len() + lines.len()) as u64;
        if leave {
            self.unplug(slot);
        }
        (result, Effects { sent, lines, fault, left: leave })
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

    fn config(bus: &Buses, offset: u64, width: usize) -> u64 {
        match bus.decode(ecam(0, offset)) {
            Target::Config { slot, offset } => bus.config_read(slot, offset, width),
            other => panic!("not configuration space: {other:?}"),
        }
    }

    fn set_config(bus: &mut Buses, offset: u64, width: usize, value: u64) {
        match bus.decode(ecam(0, offset)) {
            Target::Config { slot, offset } => _ = bus.config_write(slot, offset, width, value),
            other => panic!("not configuration space: {other:?}"),
        }
    }

    struct Wide;
    impl PciModel for Wide {
        fn identity(&self) -> Identity {
            Identity { bars: vec![Bar::memory64(1 << 33)], ..Identity::new(1, 2) }
        }
    }
    impl Model for Wide {
        fn read(&mut self, bar: usize, offset: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
            bar as u64 + offset
        }
        fn write(&mut self, _: usize, _: u64, _: usize, _: u64, _: &mut BusAccess<'_>) {}
    }

    #[test]
    fn a_bar_is_sized_by_writing_ones_and_decodes_when_memory_is_on() {
        let mut bus = Buses::new();
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
        let mut bus = Buses::new();
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
        let mut bus = Buses::new();
        bus.plug(Arc::new(Mutex::new(Edu::new())));
        let mut memory = Memory::new();
        let mut raise = |bus: &mut Buses| {
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
