//! A PC's keyboard and mouse: two devices and two interrupts of one controller, with one lock and one state.
//!
//! Both bytes come out of one buffer, so both ISRs need what the other one knows. The driver has one [`InterruptLock`] for
//! the two: whoever holds it, in an ISR or outside, has the controller to itself.
//!
//! ACPI gives the ports to the keyboard alone, so the mouse works while the keyboard's device is started.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

pub mod decode;
pub mod input;
pub mod queue;

use alloc::sync::Arc;
use decode::{Key, Movement};
use framework::prelude::*;
use input::{ACKNOWLEDGED, Chip, INPUT_FULL, Input, Port};

registers! {
    /// The register for data.
    struct Data in ports {
        0 data: Rw,
    }
}

registers! {
    /// The register for commands, which tells the status when it is read.
    struct Control in ports {
        0 status: Ro,
        0 command: Wo,
    }
}

/// Hardware id of a PS/2 mouse.
const MOUSE: &str = "PNP0F13";

/// To the controller: the next byte is its configuration.
const WRITE_CONFIGURATION: u8 = 0x60;
/// To the controller: the next byte is for the mouse.
const TO_MOUSE: u8 = 0xd4;
/// To a keyboard or mouse: say what happens.
const REPORT: u8 = 0xf4;

/// Nanoseconds that a keyboard or mouse may take to answer.
const TIME_OUT: u64 = 500_000_000;
/// Nanoseconds between two looks.
const PAUSE: u64 = 100_000;

/// A started keyboard or mouse.
pub struct I8042 {
    port: Port,
    controller: Arc<Controller>,
    /// Nobody sets it: for pauses.
    pause: Event,
}

/// What keyboard and mouse share.
struct Controller {
    lock: InterruptLock<State>,
    /// Held over a command and its answer.
    command: WaitLock<()>,
    typed: Event,
    moved: Event,
}

/// The driver: it has one controller.
pub struct Shared(Arc<Controller>);

/// Behind the lock of both interrupts.
#[derive(Default)]
pub struct State {
    input: Input,
    /// While the keyboard's device is started.
    wires: Option<Wires>,
}

struct Wires {
    data: Data,
    control: Control,
}

/// What has come from a keyboard or mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Bytes.
    pub bytes: u64,
    /// Keys or movements that came when nobody had read for too long.
    pub dropped: u64,
}

impl DriverEntry for Shared {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        let lock = InterruptLock::new(State::default());
        let (command, typed, moved) = (WaitLock::new(()), Event::new(), Event::new());
        Ok(Shared(Arc::new(Controller { lock, command, typed, moved })))
    }
}

impl Device for I8042 {
    const NAME: &'static str = "i8042";
    const HIDS: &'static [&'static str] = &["PNP0303", MOUSE];
    type Driver = Shared;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let controller = hw.driver().0.clone();
        let port = if hw.is_compatible_with(MOUSE) { Port::Mouse } else { Port::Keyboard };
        match port {
            Port::Keyboard => {
                let wires = Wires { data: hw.map_ports(0)?, control: hw.map_ports(1)? };
                controller.lock.synchronize(at, |state, _| state.wires = Some(wires));
                hw.interrupt(Typed, &controller.lock).create()?;
            }
            Port::Mouse => {
                hw.interrupt(Moved, &controller.lock).create()?;
            }
        }
        Ok(I8042 { port, controller, pause: Event::new() })
    }

    fn d0_entry(&self, _: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.switch(at, false)?;
        self.controller.lock.synchronize(at, |state, at| state.with_chip(at, |input, chip| input.discard(chip)));
        Ok(())
    }

    /// Not before: an edge that comes while nobody is connected is lost, and the byte would block the buffer.
    fn post_interrupts_enabled(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.switch(at, true)?;
        match self.tell(at, REPORT)? {
            ACKNOWLEDGED => Ok(()),
            _ => Err(Status::Failed("the keyboard or mouse does not acknowledge")),
        }
    }

    fn pre_interrupts_disabled(&self, at: &mut At<'_, Passive>) {
        // A controller that does not take it any more does not interrupt any more.
        let _ = self.switch(at, false);
    }

    fn release_hardware(self, (): &(), at: &mut At<'_, Passive>) {
        if self.port == Port::Keyboard {
            self.controller.lock.synchronize(at, |state, _| state.wires = None);
        }
    }
}

/// The keyboard's interrupt.
pub struct Typed;

impl EvtIsr for Typed {
    type Device = I8042;
    type State = State;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &I8042, state: &mut State, irq: &mut IsrCx<'_, Self>) -> Claim {
        match state.with_chip(irq, |input, chip| input.collect(chip, Port::Keyboard)) {
            Some(true) => {
                irq.queue_dpc();
                Claim::Mine
            }
            _ => Claim::NotMine,
        }
    }
}

impl EvtDpc for Typed {
    fn evt_dpc(&self, keyboard: &I8042, irq: &mut DpcCx<'_, Self>) {
        keyboard.controller.typed.set(irq);
    }
}

/// The mouse's interrupt.
pub struct Moved;

impl EvtIsr for Moved {
    type Device = I8042;
    type State = State;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &I8042, state: &mut State, irq: &mut IsrCx<'_, Self>) -> Claim {
        match state.with_chip(irq, |input, chip| input.collect(chip, Port::Mouse)) {
            Some(true) => {
                irq.queue_dpc();
                Claim::Mine
            }
            _ => Claim::NotMine,
        }
    }
}

impl EvtDpc for Moved {
    fn evt_dpc(&self, mouse: &I8042, irq: &mut DpcCx<'_, Self>) {
        mouse.controller.moved.set(irq);
    }
}

impl I8042 {
    /// Which of the two this is.
    pub fn port(&self) -> Port {
        self.port
    }

    /// The next key of the keyboard; waits for one. PASSIVE.
    pub fn read_key(&self, at: &mut At<'_, Passive>) -> Result<Key, Gone> {
        self.read(at, &self.controller.typed, |input| input.keys.pop())
    }

    /// The next movement of the mouse; waits for one. PASSIVE.
    pub fn read_movement(&self, at: &mut At<'_, Passive>) -> Result<Movement, Gone> {
        self.read(at, &self.controller.moved, |input| input.movements.pop())
    }

    /// The next key, if there is one. PASSIVE.
    pub fn try_read_key(&self, at: &mut At<'_, Passive>) -> Option<Key> {
        self.controller.lock.synchronize(at, |state, _| state.input.keys.pop())
    }

    /// The next movement, if there is one. PASSIVE.
    pub fn try_read_movement(&self, at: &mut At<'_, Passive>) -> Option<Movement> {
        self.controller.lock.synchronize(at, |state, _| state.input.movements.pop())
    }

    /// What has come. PASSIVE.
    pub fn counters(&self, at: &mut At<'_, Passive>) -> Counters {
        self.controller.lock.synchronize(at, |State { input, .. }, _| Counters {
            bytes: input.bytes(self.port),
            dropped: match self.port {
                Port::Keyboard => input.keys.dropped(),
                Port::Mouse => input.movements.dropped(),
            },
        })
    }

    fn read<T>(
        &self,
        at: &mut At<'_, Passive>,
        came: &Event,
        mut take: impl FnMut(&mut Input) -> Option<T>,
    ) -> Result<T, Gone> {
        loop {
            came.clear(at);
            if let Some(value) = self.controller.lock.synchronize(at, |state, _| take(&mut state.input)) {
                // Another reader may have been woken by the same set.
                came.set(at);
                return Ok(value);
            }
            came.wait(at)?;
        }
    }

    /// Switches this port and its interrupt on or off.
    fn switch(&self, at: &mut At<'_, Passive>, on: bool) -> Result<()> {
        let _turn = self.controller.command.acquire(at);
        let configuration = self.controller.lock.synchronize(at, |state, _| state.input.configure(self.port, on));
        self.send(at, |wires, at| wires.control.command.write(at, WRITE_CONFIGURATION))?;
        self.send(at, |wires, at| wires.data.data.write(at, configuration))
    }

    /// Sends `byte` to the keyboard or mouse, and returns what it answers.
    fn tell(&self, at: &mut At<'_, Passive>, byte: u8) -> Result<u8> {
        let _turn = self.controller.command.acquire(at);
        if self.port == Port::Mouse {
            self.send(at, |wires, at| wires.control.command.write(at, TO_MOUSE))?;
        }
        self.controller.lock.synchronize(at, |state, _| state.input.ask(self.port));
        self.send(at, |wires, at| wires.data.data.write(at, byte))?;
        // The ISR takes it.
        self.wait_for(at, |state, _| Ok(state.input.answer()))
    }

    /// Gives the controller a byte once it can take one.
    fn send(&self, at: &mut At<'_, Passive>, write: impl Fn(&Wires, &mut At<'_, Dirql>)) -> Result<()> {
        self.wait_for(at, |state, at| {
            let wires = state.wires.as_ref().ok_or(Status::Failed("the controller's ports are the keyboard's"))?;
            if wires.control.status.read(at) & INPUT_FULL != 0 {
                return Ok(None);
            }
            write(wires, at);
            Ok(Some(()))
        })
    }

    /// Looks again and again, at the controller alone, until `look` has found something.
    fn wait_for<R>(
        &self,
        at: &mut At<'_, Passive>,
        look: impl Fn(&mut State, &mut At<'_, Dirql>) -> Result<Option<R>>,
    ) -> Result<R> {
        let give_up = at.now() + TIME_OUT;
        loop {
            if let Some(found) = self.controller.lock.synchronize(at, &look)? {
                return Ok(found);
            }
            if at.now() >= give_up {
                return Err(Status::TimedOut);
            }
            // It ends by its time.
            let _ = self.pause.wait_timeout(at, PAUSE);
        }
    }
}

impl State {
    /// `None`: the ports are not there.
    fn with_chip<R>(
        &mut self,
        at: &mut At<'_, Dirql>,
        f: impl FnOnce(&mut Input, &mut Wired<'_, '_>) -> R,
    ) -> Option<R> {
        let State { input, wires } = self;
        wires.as_ref().map(|wires| f(input, &mut Wired { wires, at }))
    }
}

/// The controller, with the token that reaches it.
struct Wired<'a, 'c> {
    wires: &'a Wires,
    at: &'a mut At<'c, Dirql>,
}

impl Chip for Wired<'_, '_> {
    fn status(&mut self) -> u8 {
        self.wires.control.status.read(self.at)
    }

    fn read(&mut self) -> u8 {
        self.wires.data.data.read(self.at)
    }
}
