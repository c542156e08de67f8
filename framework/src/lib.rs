//! Dirql's driver framework: KMDF's objects in safe Rust.
//!
//! A driver implements [`Device`] for the type of its devices and one trait for each callback it wants: [`EvtIsr`],
//! [`EvtDpc`], [`EvtWorkItem`], [`EvtDpcFunc`], [`EvtWorkItemFunc`], [`EvtTimerFunc`], [`EvtIo`], or their serialized twins.
//! Everything a callback may do is in its signature:
//!
//! * the **token** (`&mut At<'_, L>`, or a context that is one) says at which IRQL it runs, and every call says which
//!   IRQLs it can be made at: waiting in a DPC does not compile;
//! * the **state** of an interrupt lives behind its lock: the ISR is handed `&mut`, everybody else synchronizes;
//! * the **device** is the value that [`Device::prepare_hardware`] built: a callback cannot run without one;
//! * the data of a **scope** ([`Scope`]) is handed as `&mut` to the callbacks that take turns with it;
//! * a **request** ([`Request`]) is a value: it can be completed once, and a callback cannot forget it.
//!
//! The image builds a table of [`Driver`]s and starts [`Pnp`], which enumerates the bus and takes every device through
//! its life in KMDF's order. Whoever uses a device from outside does so through a [`DeviceRef`], or asks it by requests through a
//! [`File`].
//!
//! **Invariant:** no callback of a device runs before its `d0_entry` or after its `d0_exit`, and at `release_hardware`
//! nobody else holds the device. Only queues do otherwise: those that are not power-managed serve requests as long as the
//! hardware is prepared, and a request that the driver keeps can be cancelled or stopped while the device sleeps.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod assign;
mod attachment;
mod departure;
mod device;
mod dma;
mod dpc;
mod driver;
mod file;
mod hardware;
mod interrupt;
mod lines;
mod node;
mod object;
mod pnp;
pub mod ports;
mod queue;
mod registers;
mod request;
mod rows;
mod scope;
mod session;
mod status;
mod timer;
mod work_item;

pub use departure::{BusChanges, Departed, Departure};
pub use device::{Creator, Device, DeviceAdd, DeviceInit, DriverEntry, DriverInit, PciId, PowerState, Resources};
pub use dma::DmaBuffer;
pub use dpc::{Dpc, EvtDpcFunc, EvtSerializedDpcFunc};
pub use driver::Driver;
pub use file::{File, Pending};
pub use interrupt::{
    AfterIsr, ByDpc, ByWorkItem, Callback, CallbackCx, Deferral, DpcCx, EvtDpc, EvtIsr, EvtSerializedDpc,
    EvtSerializedWorkItem, EvtWorkItem, InDpc, InIsr, InWorkItem, Info, Interrupt, InterruptBuilder, IntoLock, IsrCx,
    NotInItsOwnIsr, Nothing, Signal, WorkCx,
};
pub use io::{Affinity, Grant, Polarity, Policy, Priority};
pub use ke::{
    At, AtMost, CanTry, Claim, CpuSet, Dirql, Dispatch, DmaError, Event, Gone, InterruptGuard, InterruptLock, IsrLevel,
    Level, LockableFrom, Masked, MayWait, Mmio, Mode, Nested, OutOfRange, Passive, PortRegister, Ports, SpinGuard,
    SpinLock, StormCause, WaitError, WaitGuard, WaitLock,
};
pub use node::DeviceRef;
pub use object::{EvtObject, Object};
pub use pnp::Pnp;
pub use ports::PortBlock;
pub use queue::{Dispatching, EvtIo, EvtSerializedIo, IoQueue, QueueBuilder, QueueInfo, Refusal};
pub use registers::{RegisterBlock, Ro, Rw, Wo};
pub use request::{
    AnyRequest, Cancel, Completion, Disposed, Ioctl, Parked, Read, Request, RequestKind, Resume, Stop, StopAction,
    Which, Write,
};
pub use rows::{AcpiDeviceRow, DeviceRow, DeviceState, InterruptRow, LineRow, ObjectRow, QueueRow};
pub use scope::{ExecutionLevel, Inherited, Scope, ScopeLevel, Serialized, ServesDpc, ServesWorkItem};
pub use status::{Result, Status};
pub use timer::{CanRepeat, EvtSerializedTimerFunc, EvtTimerFunc, Timer, TimerBuilder};
pub use work_item::{EvtSerializedWorkItemFunc, EvtWorkItemFunc, WorkItem};

#[doc = include_str!("../../docs/objects.md")]
pub mod objects {}

/// What drivers of ACPI's own hardware name.
pub mod acpi {
    pub use io::{
        AcpiError, AcpiMethods, AcpiValue, FIXED_HARDWARE_ID, FixedBlock, FixedHardware, GpeMethod, Notification,
    };
}

/// What `registers!` expands to names through this crate.
#[doc(hidden)]
pub mod macros {
    pub use ke::{Mmio, OutOfRange, PortOutOfRange, Ports};
}

/// Everything a driver needs: `use framework::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Affinity, AnyRequest, At, AtMost, ByDpc, ByWorkItem, Cancel, Claim, CpuSet, Creator, Device, DeviceAdd,
        DeviceInit, Dirql, Dispatch, Disposed, DmaBuffer, DmaError, Dpc, DpcCx, DriverEntry, DriverInit, Event, EvtDpc,
        EvtDpcFunc, EvtIo, EvtIsr, EvtObject, EvtSerializedDpc, EvtSerializedDpcFunc, EvtSerializedIo,
        EvtSerializedTimerFunc, EvtSerializedWorkItem, EvtSerializedWorkItemFunc, EvtTimerFunc, EvtWorkItem,
        EvtWorkItemFunc, Gone, Info, Interrupt, InterruptLock, IoQueue, Ioctl, IsrCx, Level, Masked, MayWait, Nested,
        Nothing, Object, Parked, Passive, PciId, PowerState, Priority, Read, Request, RequestKind, Resources, Result,
        Resume, Ro, Rw, Scope, Serialized, SpinLock, Status, Stop, StopAction, Timer, WaitError, WaitLock, Wo, WorkCx,
        WorkItem, Write, registers,
    };
}
