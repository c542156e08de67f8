//! Line interrupts through the framework: devices that share a line, what the line's first user decides for the others.

use crate::bells::{self, Bells, Regs};
use framework::{DeviceRef, DeviceState, Driver, Mode, Pnp, Polarity, Signal, prelude::*};
use hal_sim::{Explorer, Setup, run_once};
use ke::{CeilingTooLow, ConnectError};
use std::time::Duration;

/// What a device's driver asks for; the device says it in its `fail_at` register.
const PLAIN: u32 = 0;
const IN_THE_SET: u32 = 1;
const HIGH: u32 = 2;
const UNSHARED: u32 = 3;
const SLEEPY: u32 = 4;
/// Its ISR never recognises its device.
const BLIND: u32 = 5;

const LINE: u32 = 16;
const OTHER_LINE: u32 = 17;

/// A device with one interrupt, which it asks its device for before it claims it.
struct Liner {
    regs: Regs,
    is_blind: bool,
    interrupt: Kind,
    served: Event,
}

enum Kind {
    Dirql(Interrupt<AtDirql>),
    Passive(Interrupt<AtPassive>),
}

/// The driver's set: its members ask for a low level.
struct Set(InterruptLock<u32>);

struct AtDirql;
struct AtPassive;

impl DriverEntry for Set {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Set(InterruptLock::new(0)))
    }
}

impl Device for Liner {
    const NAME: &'static str = "liner";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = Set;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        let set = &hw.driver().0;
        let kind = regs.fail_at.read(at);
        let interrupt = match kind {
            IN_THE_SET => Kind::Dirql(hw.interrupt(AtDirql, set).priority(Priority::Low).create()?),
            HIGH => Kind::Dirql(hw.interrupt(AtDirql, 0).priority(Priority::High).create()?),
            UNSHARED => Kind::Dirql(hw.interrupt(AtDirql, 0).share(false).create()?),
            SLEEPY => Kind::Passive(hw.interrupt(AtPassive, 0).create()?),
            _ => Kind::Dirql(hw.interrupt(AtDirql, 0).line().create()?),
        };
        Ok(Liner { regs, is_blind: kind == BLIND, interrupt, served: Event::new() })
    }
}

impl EvtIsr for AtDirql {
    type Device = Liner;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Liner, claimed: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        if dev.is_blind {
            return Claim::NotMine;
        }
        let claim = dev.regs.quiet(irq, 0);
        if claim == Claim::Mine {
            *claimed += 1;
            irq.queue_dpc();
        }
        claim
    }
}

impl EvtDpc for AtDirql {
    fn evt_dpc(&self, dev: &Liner, irq: &mut DpcCx<'_, Self>) {
        dev.served.set(irq);
    }
}

impl EvtIsr for AtPassive {
    type Device = Liner;
    type State = u32;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Liner, claimed: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = dev.regs.quiet(irq, 0);
        if claim == Claim::Mine {
            *claimed += 1;
            dev.served.set(irq);
        }
        claim
    }
}

impl Liner {
    fn ring(&self, at: &mut At<'_, Passive>) {
        self.served.clear(at);
        self.regs.ring.write(at, 1);
        self.served.wait(at).expect("the device is not stopped meanwhile");
    }

    fn claimed(&self, at: &mut At<'_, Passive>) -> u32 {
        match &self.interrupt {
            Kind::Dirql(interrupt) => interrupt.synchronize(at, |claimed, _| *claimed),
            Kind::Passive(interrupt) => interrupt.synchronize(at, |claimed, _| *claimed),
        }
    }

    fn info(&self, at: &mut At<'_, Passive>) -> Info {
        let info = match &self.interrupt {
            Kind::Dirql(interrupt) => interrupt.info(at),
            Kind::Passive(interrupt) => interrupt.info(at),
        };
        info.expect("it is connected")
    }
}

/// Plugs in devices, each of a kind and on a line.
fn plug<const N: usize>(machine: &mut Setup, devices: [(u32, u32); N]) {
    for (kind, line) in devices {
        let device = machine.device(Bells::failing_at(kind));
        machine.wire(&device, line);
    }
}

/// Starts all devices, those that `on_lines` names on their lines.
fn start(at: &mut At<'_, Passive>, on_lines: &'static str) -> Pnp {
    Pnp::start(at, &hal_sim::platform(), &[Driver::of::<Liner>().on_lines(on_lines)])
}

fn run<const N: usize>(
    cpus: usize,
    devices: [(u32, u32); N],
    on_lines: &'static str,
    f: fn(&Pnp, &mut At<'_, Passive>),
) {
    run_once(cpus, move |machine| {
        plug(machine, devices);
        machine.main(move |at| {
            let pnp = start(at, on_lines);
            f(&pnp, at);
            pnp.shut_down(at);
            assert_eq!(pnp.lines(at), [], "the last one to go frees the line");
            let vectors = pnp.objects(at).into_iter().find(|row| row.kind == "Vector");
            assert_eq!(vectors.map(|row| row.count), Some(0));
        });
    });
}

fn on<R>(pnp: &Pnp, name: &str, at: &mut At<'_, Passive>, f: impl FnOnce(&Liner, &mut At<'_, Passive>) -> R) -> R {
    let device: DeviceRef<Liner> = pnp.device(name).expect("a driver serves it");
    device.with(at, f).expect("it is started")
}

#[test]
fn devices_share_a_line_and_each_gets_its_own() {
    run(2, [(PLAIN, LINE), (PLAIN, LINE)], "", |pnp, at| {
        for name in ["liner#0", "liner#1", "liner#1"] {
            on(pnp, name, at, Liner::ring);
        }
        assert_eq!(on(pnp, "liner#0", at, Liner::claimed), 1);
        assert_eq!(on(pnp, "liner#1", at, Liner::claimed), 2);
        let [line] = <[_; 1]>::try_from(pnp.lines(at)).expect("they share it");
        assert_eq!((line.line.gsi, line.members.len(), line.count, line.unclaimed), (LINE, 2, 3, 0));
    });
}

#[test]
fn info_says_how_a_line_signals_and_whether_it_is_shared() {
    run(1, [(PLAIN, LINE), (UNSHARED, OTHER_LINE)], "liner#1", |pnp, at| {
        let [first, second] = ["liner#0", "liner#1"].map(|name| on(pnp, name, at, Liner::info));
        let signal = |gsi, shared| Signal::Line { gsi, polarity: Polarity::ActiveLow, shared };
        assert_eq!((first.signal, first.mode, first.number), (signal(LINE, true), Mode::LevelSensitive, 0));
        assert_eq!(second.signal, signal(OTHER_LINE, false));
        assert_eq!(first.irql, first.vector >> 4);
    });
}

#[test]
fn the_image_puts_devices_on_lines_that_would_use_messages() {
    run(1, [(HIGH, LINE), (HIGH, LINE)], "liner#1", |pnp, at| {
        let [first, second] = ["liner#0", "liner#1"].map(|name| on(pnp, name, at, Liner::info));
        assert_eq!(first.signal, Signal::Message);
        assert!(matches!(second.signal, Signal::Line { .. }));
        on(pnp, "liner#0", at, Liner::ring);
        on(pnp, "liner#1", at, Liner::ring);
    });
}

#[test]
fn a_line_above_a_settled_ceiling_is_refused_and_nothing_is_connected() {
    let devices = [(IN_THE_SET, LINE), (HIGH, OTHER_LINE), (IN_THE_SET, OTHER_LINE)];
    run(1, devices, "liner#0,liner#1,liner#2", |pnp, at| {
        let [low, high] = ["liner#0", "liner#1"].map(|name| on(pnp, name, at, Liner::info).irql);
        let refused = Status::CeilingTooLow(CeilingTooLow { line: high, ceiling: low });
        assert_eq!(pnp.devices(at)[2].state, DeviceState::Failed(refused));
        assert_eq!(pnp.lines(at)[1].members.len(), 1);
        on(pnp, "liner#1", at, Liner::ring);
    });
}

#[test]
fn c63_a_line_that_is_not_shared_is_refused_to_the_second() {
    run(1, [(UNSHARED, LINE), (PLAIN, LINE)], "liner#0", |pnp, at| {
        let DeviceState::Failed(Status::Connect(ConnectError::NotShared { .. })) = pnp.devices(at)[1].state else {
            panic!("the line is not shared, but {:?}", pnp.devices(at)[1].state);
        };
        on(pnp, "liner#0", at, Liner::ring);
    });
}

#[test]
fn passive_and_dirql_interrupts_share_a_line() {
    run(2, [(SLEEPY, LINE), (PLAIN, LINE)], "liner#0", |pnp, at| {
        for name in ["liner#0", "liner#1", "liner#0"] {
            on(pnp, name, at, Liner::ring);
        }
        assert_eq!(on(pnp, "liner#0", at, Liner::claimed), 2);
        assert_eq!(on(pnp, "liner#1", at, Liner::claimed), 1);
    });
}

#[test]
fn a_device_without_lines_cannot_be_put_on_one() {
    run_once(1, |machine| {
        machine.device(Bells::failing_at(PLAIN));
        machine.main(|at| {
            let pnp = start(at, "");
            let refused = Status::NoInterruptLeft { created: 0, assigned: 0 };
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Failed(refused));
            pnp.shut_down(at);
        });
    });
}

#[test]
fn c65_a_line_that_nobody_claims_is_masked_until_it_is_forgiven() {
    run(1, [(BLIND, LINE), (PLAIN, LINE)], "", |pnp, at| {
        on(pnp, "liner#0", at, |dev, at| dev.regs.ring.write(at, 1));
        let row = &pnp.lines(at)[0];
        assert_eq!((row.stormed, row.count, row.unclaimed), (true, 1_000, 1_000));
        assert_eq!(row.members.len(), 2);
        on(pnp, "liner#0", at, |dev, at| dev.regs.ack.write(at, 1));
        assert!(pnp.forgive_line(at, OTHER_LINE).is_err());
        pnp.forgive_line(at, LINE).expect("the line is in use");
        on(pnp, "liner#1", at, Liner::ring);
        assert!(!pnp.lines(at)[0].stormed);
    });
}

/// Makes two interrupts before it is known that the device has one line.
struct TwoOfOne;
struct Made([Interrupt<Second>; 2]);
struct Second;

impl DeviceAdd<TwoOfOne> for Made {
    fn device_add(init: &mut DeviceInit<'_, TwoOfOne>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Made([init.interrupt(Second, ()).line().create()?, init.interrupt(Second, ()).line().create()?]))
    }
}

impl Device for TwoOfOne {
    const NAME: &'static str = "two";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = Made;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let third = hw.interrupt(Second, ()).line().create();
        assert_eq!(third.err(), Some(Status::NoInterruptLeft { created: 2, assigned: 1 }));
        assert!(hw.added().0.iter().all(|interrupt| interrupt.info(at).is_none()));
        Ok(TwoOfOne)
    }

    fn release_hardware(self, Made([first, second]): &Made, at: &mut At<'_, Passive>) {
        assert_eq!((first.info(at), second.info(at)), (None, None));
    }
}

impl EvtIsr for Second {
    type Device = TwoOfOne;
    type State = ();
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &TwoOfOne, (): &mut (), _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::NotMine
    }

    fn evt_enable(&self, _: &TwoOfOne, (): &mut (), irq: &mut IsrCx<'_, Self>) -> Result<()> {
        assert_eq!(irq.message(), 0, "the second one is never enabled");
        Ok(())
    }
}

#[test]
fn c14_what_the_bus_has_no_line_for_stays_unconnected() {
    run_once(1, |machine| {
        let device = machine.device(Bells::default());
        machine.wire(&device, LINE);
        machine.main(|at| {
            let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<TwoOfOne>()]);
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Started);
            let connected: Vec<bool> = pnp.interrupts(at).iter().map(|row| row.grant.is_some()).collect();
            assert_eq!(connected, [true, false]);
            pnp.shut_down(at);
        });
    });
}

/// One leaves while both ring: the other goes on, whatever runs when.
#[test]
fn one_of_two_leaves_a_shared_line() {
    for (other, cpus) in [(PLAIN, 1), (PLAIN, 2), (SLEEPY, 2)] {
        let explorer = Explorer::new(&format!("kind {other} leaves a shared line on {cpus}")).cpus(cpus);
        explorer.limit(Duration::from_secs(2)).run(move |machine| {
            plug(machine, [(PLAIN, LINE), (other, LINE)]);
            machine.main(|at| {
                let pnp = start(at, "liner#0,liner#1");
                on(&pnp, "liner#1", at, |dev, at| dev.regs.ring.write(at, 1));
                on(&pnp, "liner#0", at, |dev, at| dev.regs.ring.write(at, 1));
                pnp.stop_device(at, "liner#1").expect("it is started");
                on(&pnp, "liner#0", at, |dev, at| dev.served.wait(at)).expect("it is not stopped meanwhile");
                on(&pnp, "liner#0", at, Liner::ring);
                pnp.start_device(at, "liner#1").expect("it is stopped");
                on(&pnp, "liner#1", at, Liner::ring);
                pnp.shut_down(at);
            });
        });
    }
}
