//! The serial port of a PC: a 16550, found through ACPI, that receives and sends by interrupt.
//!
//! ```text
//! DISPATCH  Reads, Writes  park the request, and serve it as far as that goes at once
//! DIRQL     evt_isr        moves bytes between the chip and two rings, queues the DPC if a request may wait for that
//! DISPATCH  evt_dpc        fills the read with what came, moves on the write, completes them
//! ```
//!
//! The queues and the DPC are of one scope, whose data, the [`Desk`], is the requests that wait. A read is completed with what
//! there is, at least a byte; a write when its last byte has been given to the chip. What arrives before anybody reads is kept,
//! up to 4096 bytes; what comes then is counted as dropped. The rate and the format stay as firmware and the kernel's own
//! console have set them.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod desk;
pub mod ring;
pub mod traffic;

pub use desk::{Desk, Reads, Writes};
pub use traffic::Counters;

use framework::prelude::*;
use traffic::{Chip, Served, Traffic};

registers! {
    /// The 16550's. Two of them mean one thing when they are read and another when they are written.
    struct Ports in ports {
        0 data: Rw,
        1 interrupt_enable: Wo,
        2 interrupt_id: Ro,
        2 fifo_control: Wo,
        4 modem_control: Wo,
        5 line_status: Ro,
        6 modem_status: Ro,
        7 scratch: Rw,
    }
}

/// FIFO control: on, interrupt from 8 received bytes on or after a pause.
const FIFO_ON: u8 = 0x81;
/// Modem control: ready, and the interrupt line connected, as a PC has it.
const READY: u8 = 0x0b;

/// Nanoseconds that sending what is left may take: a full ring at 9600 baud.
const TIME_OUT: u64 = 5_000_000_000;
/// Nanoseconds between two looks at what is left.
const PAUSE: u64 = 1_000_000;

/// A started serial port.
pub struct Serial {
    ports: Ports,
    port: Interrupt<Port>,
    scope: Scope<Desk>,
}

impl Device for Serial {
    const NAME: &'static str = "serial";
    const HIDS: &'static [&'static str] = &["PNP0501"];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let ports: Ports = hw.map_ports(0)?;
        if !is_there(&ports, at) {
            return Err(Status::Failed("no 16550 answers at the port's address"));
        }
        hw.io_queue(Reads).takes(RequestKind::Read).create()?;
        hw.io_queue(Writes).takes(RequestKind::Write).create()?;
        Ok(Serial {
            ports,
            port: hw.interrupt(Port, Traffic::new()).priority(Priority::High).create()?,
            scope: Scope::new(Desk::default()),
        })
    }

    fn d0_entry(&self, _: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.ports.interrupt_enable.write(at, 0);
        self.ports.fifo_control.write(at, FIFO_ON);
        self.ports.modem_control.write(at, READY);
        Ok(())
    }

    /// Sends what is left while interrupts still work.
    fn pre_interrupts_disabled(&self, at: &mut At<'_, Passive>) {
        let (give_up, pause) = (at.now() + TIME_OUT, Event::new());
        while !self.port.synchronize(at, |traffic, _| traffic.is_sent()) && at.now() < give_up {
            // Nobody sets it: this is a pause.
            let _ = pause.wait_timeout(at, PAUSE);
        }
    }
}

/// The port's interrupt.
pub struct Port;

impl EvtIsr for Port {
    type Device = Serial;
    type State = Traffic;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, serial: &Serial, traffic: &mut Traffic, irq: &mut IsrCx<'_, Self>) -> Claim {
        match traffic.serve(&mut Wired { ports: &serial.ports, at: irq }) {
            Served::Nothing => return Claim::NotMine,
            Served::Quietly => {}
            Served::News => _ = irq.queue_dpc(),
        }
        Claim::Mine
    }

    fn evt_enable(&self, serial: &Serial, traffic: &mut Traffic, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        traffic.switch_on(&mut Wired { ports: &serial.ports, at: irq });
        Ok(())
    }

    fn evt_disable(&self, serial: &Serial, traffic: &mut Traffic, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        traffic.switch_off(&mut Wired { ports: &serial.ports, at: irq });
        Ok(())
    }
}

impl Serialized for Port {
    type Device = Serial;
    type Data = Desk;
    type Level = Dispatch;

    fn scope<'a>(&'a self, serial: &'a Serial) -> &'a Scope<Desk> {
        &serial.scope
    }
}

impl EvtSerializedDpc for Port {
    fn evt_dpc(&self, serial: &Serial, desk: &mut Desk, irq: &mut DpcCx<'_, Self>) {
        desk.serve(serial, irq);
    }
}

impl Serial {
    /// Takes what has arrived, if anything has. PASSIVE.
    pub fn try_read(&self, at: &mut At<'_, Passive>, into: &mut [u8]) -> usize {
        self.port.synchronize(at, |traffic, _| traffic.read(into))
    }

    /// From here on what arrives stays in the chip, until the device is powered up again: for who is to receive it there.
    /// What has arrived before can still be read. PASSIVE.
    pub fn hold_received(&self, at: &mut At<'_, Passive>) {
        self.port.synchronize(at, |traffic, at| traffic.hold(&mut Wired { ports: &self.ports, at }));
    }

    /// What has come and gone. PASSIVE.
    pub fn counters(&self, at: &mut At<'_, Passive>) -> Counters {
        self.port.synchronize(at, |traffic, _| traffic.counters())
    }
}

/// The chip has a byte that does nothing but keep what is written to it.
fn is_there(ports: &Ports, at: &mut At<'_, Passive>) -> bool {
    [0x5a, 0xa5].iter().all(|pattern| {
        ports.scratch.write(at, *pattern);
        ports.scratch.read(at) == *pattern
    })
}

/// The chip, with the token that reaches it.
struct Wired<'a, 'c> {
    ports: &'a Ports,
    at: &'a mut At<'c, Dirql>,
}

impl Chip for Wired<'_, '_> {
    fn interrupt_id(&mut self) -> u8 {
        self.ports.interrupt_id.read(self.at)
    }

    fn line_status(&mut self) -> u8 {
        self.ports.line_status.read(self.at)
    }

    fn modem_status(&mut self) -> u8 {
        self.ports.modem_status.read(self.at)
    }

    fn receive(&mut self) -> u8 {
        self.ports.data.read(self.at)
    }

    fn transmit(&mut self, byte: u8) {
        self.ports.data.write(self.at, byte);
    }

    fn enable_interrupts(&mut self, bits: u8) {
        self.ports.interrupt_enable.write(self.at, bits);
    }
}
