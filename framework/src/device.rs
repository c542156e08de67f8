//! Drivers and devices: three stages, each a type that its callback builds and the end of the stage drops.
//!
//! | stage | built by | dropped at |
//! |---|---|---|
//! | [`Device::Driver`] | `driver_entry`, when the first device is found | unload |
//! | [`Device::Added`] | `device_add` | removal |
//! | the [`Device`] itself | `prepare_hardware` | `release_hardware` |
//!
//! Registers live in the third, so they cannot be reached before the hardware is there or after it is released.

use crate::{
    BusChanges, DmaBuffer, Dpc, EvtDpcFunc, EvtIo, EvtIsr, EvtObject, EvtTimerFunc, EvtWorkItemFunc, InterruptBuilder,
    IntoLock, Object, PortBlock, QueueBuilder, RegisterBlock, Result, Status, TimerBuilder, WorkItem,
    dma::Buffers,
    hardware::Hardware,
    interrupt::AnyInterrupt,
    object::Cleanup,
    pnp::Shared,
    queue::{AnyIoQueue, Routes},
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};
use io::{AcpiMethods, FixedHardware, Line, Resource};
use ke::{At, Passive, Ports, SpinLock};

/// Vendor and device number that a driver serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciId(pub u16, pub u16);

/// Device power states, as `d0_entry` and `d0_exit` are told them (WDF_POWER_DEVICE_STATE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Working.
    D0,
    /// Asleep, lightly.
    D1,
    /// Asleep.
    D2,
    /// Off, to come back.
    D3,
    /// Off for good: stopped or removed.
    D3Final,
}

/// What all devices of a driver share. `()` when that is nothing. Its `Drop` is EvtDriverUnload.
pub trait DriverEntry: Sized + Send + Sync + 'static {
    /// DriverEntry. PASSIVE.
    fn driver_entry(init: &mut DriverInit, at: &mut At<'_, Passive>) -> Result<Self>;
}

impl DriverEntry for () {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<()> {
        Ok(())
    }
}

/// What of a device outlives a stop for rebalance. `()` when that is nothing.
pub trait DeviceAdd<D: Device>: Sized + Send + Sync + 'static {
    /// EvtDriverDeviceAdd. PASSIVE. Objects can be created here, but making them in `prepare_hardware` is the normal
    /// way: these here live over restarts, and their resources come and go.
    fn device_add(init: &mut DeviceInit<'_, D>, at: &mut At<'_, Passive>) -> Result<Self>;
}

impl<D: Device> DeviceAdd<D> for () {
    fn device_add(_: &mut DeviceInit<'_, D>, _: &mut At<'_, Passive>) -> Result<()> {
        Ok(())
    }
}

/// A device with its registers: what every callback is given. All callbacks here run at PASSIVE, one at a time.
///
/// Start: `prepare_hardware`, bus master on, `d0_entry`, interrupts connected and enabled in order of creation,
/// `post_interrupts_enabled`, queues. Stop: queues, `pre_interrupts_disabled`, interrupts disabled and disconnected in reverse,
/// `d0_exit`, bus master off, `release_hardware`. What fails on the way up is unwound the same way. Between start and stop a
/// device can power down, to D1, D2 or D3, and up again: the same order without `prepare_hardware` and `release_hardware`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a device", note = "implement `Device` for it")]
pub trait Device: Sized + Send + Sync + 'static {
    /// The driver's name; its devices are `name#0`, `name#1` and so on, in bus order.
    const NAME: &'static str;
    /// Which PCI functions the driver serves.
    const IDS: &'static [PciId] = &[];
    /// Which devices that ACPI describes the driver serves, by their hardware ids: `PNP0501`.
    const HIDS: &'static [&'static str] = &[];
    /// DO_POWER_PAGABLE (WdfDeviceInitSetPowerPageable). `false`: the device's interrupts stay connected while it sleeps or they
    /// are disabled, inactive, so that waking it connects nothing: for devices that the machine needs to get at memory.
    const POWER_PAGEABLE: bool = true;
    /// What all devices of the driver share.
    type Driver: DriverEntry;
    /// What of the device outlives a restart.
    type Added: DeviceAdd<Self>;

    /// EvtDevicePrepareHardware: maps registers, creates objects, and returns the device itself. On an error the
    /// framework takes back whatever was created. The device cannot start transfers yet: here is the place to make sure
    /// that it is not at one of an earlier run, whose buffers are gone.
    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self>;

    /// EvtDeviceD0Entry. No interrupt of the device is connected. On an error `d0_exit` is not called.
    fn d0_entry(&self, from: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        let _ = (from, at);
        Ok(())
    }

    /// EvtDeviceD0EntryPostInterruptsEnabled.
    fn post_interrupts_enabled(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let _ = at;
        Ok(())
    }

    /// EvtDeviceD0ExitPreInterruptsDisabled. Interrupts still work, and power-managed queues give out no requests any more.
    fn pre_interrupts_disabled(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }

    /// EvtDeviceD0Exit. No callback of any object runs or will run, but for queues that are not power-managed, and for the
    /// cancellation of what the driver keeps ([`EvtIo`]). The last chance to quiet the device.
    fn d0_exit(&self, to: PowerState, at: &mut At<'_, Passive>) {
        let _ = (to, at);
    }

    /// EvtDeviceSurpriseRemoval: the hardware is gone and reads all ones. The stop callbacks follow.
    fn surprise_removal(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }

    /// EvtDeviceReleaseHardware: by value, because nobody else holds the device any more.
    fn release_hardware(self, added: &Self::Added, at: &mut At<'_, Passive>) {
        let _ = (added, at);
    }
}

/// In `driver_entry`.
#[derive(Debug)]
pub struct DriverInit {
    pub(crate) name: &'static str,
}

impl DriverInit {
    /// The driver's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The second stage, as callbacks reach it.
pub(crate) struct AddedObject<D: Device> {
    pub added: D::Added,
    pub driver: Arc<D::Driver>,
}

/// The third stage, as callbacks reach it.
pub(crate) struct DeviceObject<D: Device> {
    pub device: D,
    pub added: Arc<AddedObject<D>>,
    /// What befell it since it started, so that it works no longer.
    pub trouble: SpinLock<Option<Status>>,
}

/// An object of a device that is told when the device starts and stops; interrupts are more (`AnyInterrupt`).
pub(crate) trait AnyObject<D: Device>: Cleanup {
    /// WDF's name of the kind.
    fn kind(&self) -> &'static str;
    /// The driver's type that serves it.
    fn handler(&self) -> &'static str;
    /// From here on it may run callbacks of `device`.
    fn start(&self, device: &Arc<DeviceObject<D>>, at: &mut At<'_, Passive>);
    /// What is queued runs, what is armed does not; then nothing can be queued, and nothing holds the device.
    fn stop(&self, at: &mut At<'_, Passive>);
}

/// Creates objects. Only [`DeviceInit`] and [`Resources`] deref to one, so objects come to be in `device_add` and
/// `prepare_hardware` and nowhere else.
pub struct Creator<D: Device> {
    pub(crate) device_name: String,
    pub(crate) interrupts: Vec<Arc<dyn AnyInterrupt<D>>>,
    pub(crate) objects: Vec<Arc<dyn AnyObject<D>>>,
    pub(crate) queues: Vec<Arc<dyn AnyIoQueue<D>>>,
    pub(crate) routes: Routes,
    /// All of them, in order of creation, to be told when they end.
    pub(crate) cleanups: Vec<Arc<dyn Cleanup>>,
    /// Which message or line the next interrupt is bound to.
    pub(crate) next_interrupt: u16,
    /// How many the bus can give; unknown in `device_add`.
    pub(crate) available: Option<Available>,
}

/// How many interrupts the bus can give a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Available {
    /// Messages, or lines where there are none.
    pub usual: u16,
    /// Lines.
    pub lines: u16,
}

impl<D: Device> Creator<D> {
    pub(crate) fn new(device_name: String) -> Self {
        Creator {
            device_name,
            interrupts: Vec::new(),
            objects: Vec::new(),
            queues: Vec::new(),
            routes: Routes::default(),
            cleanups: Vec::new(),
            next_interrupt: 0,
            available: None,
        }
    }

    /// Binds a new interrupt to message or line `wanted`, or to the next one.
    pub(crate) fn bind(&mut self, wanted: Option<u16>, by_line: bool) -> Result<u16> {
        let number = wanted.unwrap_or(self.next_interrupt);
        let assigned = self.available.map(|available| if by_line { available.lines } else { available.usual });
        match assigned {
            Some(assigned) if number >= assigned => Err(Status::NoInterruptLeft { created: number, assigned }),
            _ => {
                self.next_interrupt = number + 1;
                Ok(number)
            }
        }
    }

    /// How many messages or lines the bus can give that no interrupt is bound to.
    pub(crate) fn unused_interrupts(&self) -> u16 {
        let by_line = self.interrupts.iter().any(|each| each.wants_line());
        let given = self.available.map_or(0, |available| if by_line { available.lines } else { available.usual });
        (0..given).filter(|n| self.interrupts.iter().all(|each| each.number() != *n)).count() as u16
    }

    /// WdfInterruptCreate: an interrupt of `handler`, with a state of its own or the `&InterruptLock` of a set.
    pub fn interrupt<H: EvtIsr<Device = D>>(
        &mut self,
        handler: H,
        state: impl IntoLock<H::State, H::Level>,
    ) -> InterruptBuilder<'_, H> {
        InterruptBuilder::new(self, handler, state.into_lock())
    }

    /// WdfIoQueueCreate: a queue whose requests `handler` serves. Made in `device_add` it keeps what waits over a stop and a
    /// restart, made in `prepare_hardware` it goes with the run, and what waits in it ends as [`Status::Gone`].
    pub fn io_queue<H: EvtIo<Device = D>>(&mut self, handler: H) -> QueueBuilder<'_, H> {
        QueueBuilder::new(self, handler)
    }

    /// Takes `object` into the life of the device.
    pub(crate) fn add(&mut self, object: Arc<dyn AnyObject<D>>) {
        self.objects.push(object.clone());
        self.cleanups.push(object);
    }

    /// Ends all objects but the first `kept`, last first: none of them runs, or will run.
    pub(crate) fn end_all_but(&mut self, kept: usize, at: &mut At<'_, Passive>) {
        while self.cleanups.len() > kept {
            if let Some(last) = self.cleanups.pop() {
                last.cleanup(at);
            }
        }
    }

    /// WdfDpcCreate. It can be queued from when the device starts until it stops.
    pub fn dpc<H: EvtDpcFunc<Device = D>>(&mut self, handler: H) -> Dpc<H> {
        let dpc = Dpc::new(handler);
        self.add(dpc.object());
        dpc
    }

    /// WdfWorkItemCreate. It can be queued from when the device starts until it stops.
    pub fn work_item<H: EvtWorkItemFunc<Device = D>>(&mut self, handler: H) -> WorkItem<H> {
        let item = WorkItem::new(handler);
        self.add(item.object());
        item
    }

    /// WdfTimerCreate: a timer of `handler`. It can be started from when the device starts until it stops.
    pub fn timer<H: EvtTimerFunc<Device = D>>(&mut self, handler: H) -> TimerBuilder<'_, H> {
        TimerBuilder::new(self, handler)
    }

    /// WdfObjectCreate: a general object with `context`.
    pub fn object<T: EvtObject>(&mut self, context: T) -> Object<T> {
        let object = Object::new(context);
        self.add(object.object());
        object
    }
}

impl<D: Device> fmt::Debug for Creator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interrupts, objects) = (self.interrupts.len(), self.objects.len());
        f.debug_struct("Creator").field("interrupts", &interrupts).field("objects", &objects).finish()
    }
}

/// In `device_add`: objects can be created, registers do not exist (WDFDEVICE_INIT).
#[derive(Debug)]
pub struct DeviceInit<'a, D: Device> {
    pub(crate) creator: Creator<D>,
    pub(crate) driver: &'a D::Driver,
    pub(crate) instance: u32,
}

impl<'a, D: Device> DeviceInit<'a, D> {
    /// What all devices of the driver share.
    pub fn driver(&self) -> &'a D::Driver {
        self.driver
    }

    /// Which device of the driver this is, from 0 in bus order.
    pub fn instance(&self) -> u32 {
        self.instance
    }
}

/// In `prepare_hardware`: what the bus assigned.
pub struct Resources<'a, D: Device> {
    pub(crate) creator: &'a mut Creator<D>,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) hardware: &'a Hardware,
    pub(crate) shared: &'a Shared,
    pub(crate) added: &'a Arc<AddedObject<D>>,
    pub(crate) instance: u32,
}

impl<'a, D: Device> Resources<'a, D> {
    /// MmMapIoSpace: the registers `R` of BAR `n`.
    pub fn map_bar<R: RegisterBlock>(&mut self, at: &mut At<'_, Passive>, n: u8) -> Result<R> {
        Ok(R::map(&self.hardware.map_bar(at, n)?)?)
    }

    /// The port registers `R` of port range `n`, in the order of the device's `_CRS`.
    pub fn map_ports<R: PortBlock>(&mut self, n: u16) -> Result<R> {
        Ok(R::map(&self.hardware.open_ports(n)?)?)
    }

    /// WdfCommonBufferCreate: `len` zeroed bytes that end at or below the device's highest address `limit`. The memory
    /// is the framework's: it is freed once the device cannot write it any more.
    pub fn dma_buffer(&mut self, at: &mut At<'_, Passive>, len: usize, limit: u64) -> Result<DmaBuffer> {
        Ok(self.buffers.allocate(at, len, limit)?)
    }

    /// Port range `n` as it is, for registers whose place depends on how many ports there are.
    pub fn open_ports(&mut self, n: u16) -> Result<Ports> {
        self.hardware.open_ports(n)
    }

    /// The methods of the ACPI namespace, on a machine that has one: for drivers of what firmware takes part in.
    pub fn acpi_methods(&self) -> Option<Arc<dyn AcpiMethods>> {
        self.shared.methods.clone()
    }

    /// Where the driver of a bus, or of firmware's events, tells that devices come to leave.
    pub fn bus_changes(&self) -> BusChanges {
        self.shared.changes.clone()
    }

    /// What there is to know about ACPI's own registers, for the device that they are
    /// ([`FIXED_HARDWARE_ID`](crate::acpi::FIXED_HARDWARE_ID)).
    pub fn fixed_hardware(&self) -> Option<FixedHardware> {
        self.hardware.fixed()
    }

    /// How many interrupts the bus can give this device, messages or else lines: maybe fewer than the driver would like.
    pub fn interrupts(&self) -> u16 {
        self.creator.available.map_or(0, |available| available.usual)
    }

    /// The device's interrupt lines. It may have messages instead, or too.
    pub fn lines(&self) -> Vec<Line> {
        self.hardware.lines()
    }

    /// The raw list of what was assigned (WDFCMRESLIST).
    pub fn list(&self) -> Vec<Resource> {
        self.hardware.resources()
    }

    /// Whether ACPI gives the device hardware id `id` (`_HID`), or says that it is compatible with it (`_CID`).
    pub fn is_compatible_with(&self, id: &str) -> bool {
        self.hardware.is_one_of(&[], &[id])
    }

    /// Which device of the driver this is, from 0 in bus order.
    pub fn instance(&self) -> u32 {
        self.instance
    }

    /// What `device_add` built.
    pub fn added(&self) -> &'a D::Added {
        &self.added.added
    }

    /// What all devices of the driver share.
    pub fn driver(&self) -> &'a D::Driver {
        &self.added.driver
    }
}

impl<D: Device> fmt::Debug for Resources<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").field("hardware", &self.hardware).finish_non_exhaustive()
    }
}

impl<D: Device> Deref for DeviceInit<'_, D> {
    type Target = Creator<D>;
    fn deref(&self) -> &Creator<D> {
        &self.creator
    }
}

impl<D: Device> DerefMut for DeviceInit<'_, D> {
    fn deref_mut(&mut self) -> &mut Creator<D> {
        &mut self.creator
    }
}

impl<D: Device> Deref for Resources<'_, D> {
    type Target = Creator<D>;
    fn deref(&self) -> &Creator<D> {
        self.creator
    }
}

impl<D: Device> DerefMut for Resources<'_, D> {
    fn deref_mut(&mut self) -> &mut Creator<D> {
        self.creator
    }
}
