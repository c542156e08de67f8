//! The life of a device: KMDF's order of callbacks, and what is undone when a step fails.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceState, Pnp, prelude::*};
use hal_sim::run_once;

const PREPARE: u32 = 1;
const D0_ENTRY: u32 = 2;
const POST_INTERRUPTS: u32 = 3;
const PRE_INTERRUPTS: u32 = 4;
const D0_EXIT: u32 = 5;
const SURPRISE: u32 = 6;
const RELEASE: u32 = 7;
const ENABLE: u32 = 10;
const DISABLE: u32 = 20;

const NAME: &str = "logged#0";

/// Writes down every callback.
struct Logged {
    regs: Regs,
}

struct Bell(u32);

impl Device for Logged {
    const NAME: &'static str = "logged";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        hw.interrupt(Bell(0), ()).create()?;
        hw.interrupt(Bell(1), ()).create()?;
        hw.dma_buffer(at, 64, u64::MAX)?;
        regs.step(at, PREPARE)?;
        Ok(Logged { regs })
    }

    fn d0_entry(&self, _: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.regs.step(at, D0_ENTRY)
    }

    fn post_interrupts_enabled(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.regs.step(at, POST_INTERRUPTS)
    }

    fn pre_interrupts_disabled(&self, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, PRE_INTERRUPTS);
    }

    fn d0_exit(&self, _: PowerState, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, D0_EXIT);
    }

    fn surprise_removal(&self, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, SURPRISE);
    }

    fn release_hardware(self, (): &(), at: &mut At<'_, Passive>) {
        self.regs.log.write(at, RELEASE);
    }
}

impl EvtIsr for Bell {
    type Device = Logged;
    type State = ();
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Logged, (): &mut (), _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::NotMine
    }

    fn evt_enable(&self, dev: &Logged, (): &mut (), irq: &mut IsrCx<'_, Self>) -> Result<()> {
        dev.regs.step(irq, ENABLE + self.0)
    }

    fn evt_disable(&self, dev: &Logged, (): &mut (), irq: &mut IsrCx<'_, Self>) -> Result<()> {
        dev.regs.log.write(irq, DISABLE + self.0);
        Ok(())
    }
}

/// How many vectors and bytes of DMA memory are taken.
fn taken(pnp: &Pnp, at: &mut At<'_, Passive>) -> (usize, usize) {
    let rows = pnp.objects(at);
    let vectors = rows.iter().filter(|row| row.kind == "Vector").map(|row| row.count).sum();
    (vectors, rows.iter().map(|row| row.bytes).sum())
}

#[test]
fn starts_and_stops_in_order_and_starts_again() {
    run_once(2, |machine| {
        let device = machine.device(Bells::default());
        machine.main(move |at| {
            let up = [PREPARE, D0_ENTRY, ENABLE, ENABLE + 1, POST_INTERRUPTS];
            let down = [PRE_INTERRUPTS, DISABLE + 1, DISABLE, D0_EXIT, RELEASE];
            let pnp = start::<Logged>(at);
            assert_eq!(device.with(Bells::take_log), up);
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Started);
            assert_eq!(taken(&pnp, at), (2, 64));

            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(device.with(Bells::take_log), down);
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Stopped);
            assert_eq!(taken(&pnp, at), (0, 0));
            assert_eq!(pnp.stop_device(at, NAME), Err(Status::NotStarted));

            pnp.start_device(at, NAME).expect("it is stopped");
            assert_eq!(device.with(Bells::take_log), up);
            assert_eq!(pnp.start_device(at, NAME), Err(Status::CannotStart));

            pnp.remove_device(at, NAME).expect("it is there");
            assert_eq!(device.with(Bells::take_log), down);
            assert_eq!(pnp.start_device(at, NAME), Err(Status::CannotStart));
            assert_eq!(pnp.remove_device(at, NAME), Err(Status::Gone));
        });
    });
}

#[test]
fn a_step_that_fails_undoes_exactly_what_was_done() {
    let cases: [(u32, &[u32]); 5] = [
        (PREPARE, &[PREPARE]),
        (D0_ENTRY, &[PREPARE, D0_ENTRY, RELEASE]),
        (ENABLE, &[PREPARE, D0_ENTRY, ENABLE, D0_EXIT, RELEASE]),
        (ENABLE + 1, &[PREPARE, D0_ENTRY, ENABLE, ENABLE + 1, DISABLE, D0_EXIT, RELEASE]),
        (
            POST_INTERRUPTS,
            &[PREPARE, D0_ENTRY, ENABLE, ENABLE + 1, POST_INTERRUPTS, DISABLE + 1, DISABLE, D0_EXIT, RELEASE],
        ),
    ];
    for (fail_at, log) in cases {
        run_once(1, move |machine| {
            let device = machine.device(Bells::failing_at(fail_at));
            machine.main(move |at| {
                let pnp = start::<Logged>(at);
                assert_eq!(device.with(Bells::take_log), log);
                assert_eq!(pnp.devices(at)[0].state, DeviceState::Failed(Status::Failed("planted")));
                assert_eq!(taken(&pnp, at), (0, 0));
                device.with(|bells| bells.fail_at = 0);
                pnp.start_device(at, NAME).expect("nothing fails now");
                assert_eq!(taken(&pnp, at), (2, 64));
                pnp.shut_down(at);
            });
        });
    }
}

#[test]
fn a_surprise_removal_does_not_call_the_disable_callbacks() {
    run_once(1, |machine| {
        let device = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged>(at);
            device.with(Bells::take_log);
            pnp.surprise_remove_device(at, NAME).expect("it is there");
            assert_eq!(device.with(Bells::take_log), [SURPRISE, PRE_INTERRUPTS, D0_EXIT, RELEASE]);
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Removed);
        });
    });
}

#[test]
fn buffers_of_a_device_that_does_not_answer_are_kept_until_it_has_left() {
    run_once(1, |machine| {
        let device = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged>(at);
            let location = pnp.devices(at)[0].location;
            device.remove();
            pnp.surprise_remove_device(at, NAME).expect("it was there");
            assert_eq!(taken(&pnp, at), (0, 64), "in quarantine");
            assert_eq!(pnp.problems(at), [Status::Bus(io::Error::Gone(location))]);
            pnp.left_the_bus(at, location);
            assert_eq!(taken(&pnp, at), (0, 0));
        });
    });
}

#[test]
fn a_reference_from_outside_is_refused_once_the_device_is_stopped() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged>(at);
            let device = pnp.device::<Logged>(NAME).expect("the device is a `Logged`");
            assert_eq!(device.with(at, |dev, at| dev.regs.status.read(at)), Ok(0));
            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(device.with(at, |_, _| ()), Err(Status::Gone));
            pnp.start_device(at, NAME).expect("it is stopped");
            assert_eq!(device.with(at, |_, _| ()), Ok(()));
            assert!(pnp.device::<Logged>("logged#1").is_none());
            assert_eq!(pnp.stop_device(at, "logged#1"), Err(Status::NoSuchDevice));
            pnp.shut_down(at);
            assert_eq!(device.with(at, |_, _| ()), Err(Status::Gone));
        });
    });
}

#[test]
fn functions_without_a_driver_are_listed() {
    run_once(1, |machine| {
        machine.device(hal_sim::model::Edu::new());
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged>(at);
            let rows = pnp.devices(at);
            assert_eq!(rows[0].state, DeviceState::NoDriver);
            assert_eq!((rows[0].ids.vendor, rows[0].name.as_deref()), (0x1234, None));
            assert_eq!((&rows[1].state, rows[1].name.as_deref()), (&DeviceState::Started, Some(NAME)));
            pnp.shut_down(at);
        });
    });
}
