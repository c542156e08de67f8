//! Devices that leave the bus while they are used: ejected through firmware, or without a word.

use crate::bells::{self, Bells, Regs};
use framework::{
    Departed, DeviceRef, Driver, Pnp,
    acpi::{AcpiError, AcpiMethods, AcpiValue, GpeMethod, Notification},
    prelude::*,
};
use hal_sim::{Explorer, Setup};
use io::Location;
use ke::thread::{self, ThreadOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

const NAME: &str = "used#0";
/// The device's path in the fake namespace.
const PATH: &str = "\\_SB.PCI0.S08";
const WHERE: Location = Location::new(0, 0, 1, 0);

/// A device that threads wait on, in vain.
struct Used {
    never: Event,
}

struct Bell;

impl Device for Used {
    const NAME: &'static str = "used";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let _regs: Regs = hw.map_bar(at, 0)?;
        hw.interrupt(Bell, ()).create()?;
        hw.dma_buffer(at, 64, u64::MAX)?;
        Ok(Used { never: Event::new() })
    }
}

impl EvtIsr for Bell {
    type Device = Used;
    type State = ();
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Used, (): &mut (), _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::NotMine
    }
}

/// Firmware with one slot, which is asked once to let its device go.
struct Firmware {
    device: hal_sim::Device<Bells>,
    lets_go: bool,
    was_asked: AtomicBool,
}

impl AcpiMethods for Firmware {
    fn evaluate(&self, _: &mut At<'_, Passive>, path: &str) -> Result<AcpiValue, AcpiError> {
        Err(AcpiError::NoSuchObject(path.into()))
    }

    fn call(&self, _: &mut At<'_, Passive>, path: &str, arguments: &[u64]) -> Result<AcpiValue, AcpiError> {
        assert_eq!((path.strip_prefix(PATH), arguments), (Some("._EJ0"), &[1][..]));
        assert!(!self.was_asked.swap(true, SeqCst), "the device had left before");
        match self.lets_go {
            true => self.device.remove(),
            false => return Err(refusal()),
        }
        Ok(AcpiValue::Nothing)
    }

    fn notifications(&self, _: &mut At<'_, Passive>) -> Vec<Notification> {
        Vec::new()
    }

    fn location(&self, _: &mut At<'_, Passive>, path: &str) -> Option<Location> {
        (path == PATH).then_some(WHERE)
    }

    fn ejectable(&self, _: &mut At<'_, Passive>, location: Location) -> Option<String> {
        (location == WHERE).then(|| PATH.into())
    }

    fn gpe_methods(&self, _: &mut At<'_, Passive>) -> Vec<GpeMethod> {
        Vec::new()
    }
}

fn refusal() -> AcpiError {
    AcpiError::Failed { path: format!("{PATH}._EJ0"), why: "planted".into() }
}

/// Vectors, bytes of DMA memory, and those of them in quarantine.
fn taken(pnp: &Pnp, at: &mut At<'_, Passive>) -> (usize, usize, usize) {
    let rows = pnp.objects(at);
    let sum = |wanted: &str| rows.iter().filter(|row| row.of == wanted).map(|row| row.bytes).sum();
    let vectors = rows.iter().filter(|row| row.kind == "Vector").map(|row| row.count).sum();
    (vectors, sum("used"), sum("quarantine"))
}

/// Runs `leave` while another thread waits on the device, which must end with `Gone`; then `check`.
fn while_used(
    machine: &mut Setup,
    lets_go: bool,
    leave: impl FnOnce(&Pnp, &hal_sim::Device<Bells>, &mut At<'_, Passive>) + Send + 'static,
    check: impl FnOnce(&Pnp, &mut At<'_, Passive>) + Send + 'static,
) {
    let device = machine.device(Bells::default());
    machine.main(move |at| {
        let firmware = Arc::new(Firmware { device: device.clone(), lets_go, was_asked: AtomicBool::new(false) });
        let platform = hal_sim::platform().with_acpi(Vec::new(), Some(firmware));
        let pnp = Pnp::start(at, &platform, &[Driver::of::<Used>()]);
        let used: DeviceRef<Used> = pnp.device(NAME).expect("it is there");
        let user = move |at: &mut At<'_, Passive>| {
            let waited = used.with(at, |dev, at| dev.never.wait(at));
            assert!(matches!(waited, Ok(Err(Gone)) | Err(Status::Gone)), "{waited:?}");
        };
        let user = thread::spawn(at, ThreadOptions::named("user"), user).expect("there is memory");
        leave(&pnp, &device, at);
        pnp.settle(at);
        user.join(at).expect("no device is used here");
        check(&pnp, at);
        pnp.shut_down(at);
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    Explorer::new(&format!("{name} on {cpus}")).cpus(cpus).limit(Duration::from_secs(1)).run(setup);
}

fn left(pnp: &Pnp, at: &mut At<'_, Passive>) -> Vec<(Option<String>, Departed)> {
    pnp.departures(at).into_iter().map(|departure| (departure.device, departure.how)).collect()
}

#[test]
fn an_ejected_device_is_removed_before_firmware_lets_it_go() {
    for cpus in [1, 2] {
        explore("eject", cpus, |machine| {
            let leave = |pnp: &Pnp, _: &_, at: &mut At<'_, Passive>| pnp.bus_changes().request_eject(at, PATH);
            while_used(machine, true, leave, |pnp, at| {
                assert_eq!(left(pnp, at), [(Some(NAME.into()), Departed::Ejected)]);
                assert_eq!(taken(pnp, at), (0, 0, 0));
                assert_eq!(pnp.problems(at), [], "it still answered when it was switched off");
                assert_eq!(pnp.start_device(at, NAME), Err(Status::CannotStart));
            });
        });
    }
}

#[test]
fn a_device_that_vanishes_is_removed_by_surprise() {
    for cpus in [1, 2] {
        explore("vanish", cpus, |machine| {
            let leave = |pnp: &Pnp, device: &hal_sim::Device<Bells>, at: &mut At<'_, Passive>| {
                device.remove();
                pnp.bus_changes().look(at);
            };
            while_used(machine, true, leave, |pnp, at| {
                assert_eq!(left(pnp, at), [(Some(NAME.into()), Departed::Gone)]);
                assert_eq!(taken(pnp, at), (0, 0, 64), "kept until the device is known to have left");
                pnp.left_the_bus(at, WHERE);
                assert_eq!(taken(pnp, at), (0, 0, 0));
            });
        });
    }
}

#[test]
fn of_several_words_about_one_device_the_first_removes_it() {
    explore("twice", 2, |machine| {
        let leave = |pnp: &Pnp, _: &_, at: &mut At<'_, Passive>| {
            let changes = pnp.bus_changes();
            // 3: eject. No value: the method computed it. 0x80: the device's own affair.
            for value in [Some(0x80), Some(3), None, Some(1)] {
                changes.notified(at, &Notification { device: PATH.into(), value });
            }
        };
        while_used(machine, true, leave, |pnp, at| {
            assert_eq!(left(pnp, at), [(Some(NAME.into()), Departed::Ejected)]);
        });
    });
}

/// As when another device has come into the slot.
#[test]
fn what_answers_where_a_device_has_left_is_let_be() {
    explore("come since", 1, |machine| {
        let leave = |pnp: &Pnp, _: &_, at: &mut At<'_, Passive>| {
            let changes = pnp.bus_changes();
            changes.request_eject(at, PATH);
            changes.request_eject(at, PATH);
        };
        while_used(machine, false, leave, |pnp, at| assert_eq!(pnp.departures(at).len(), 1));
    });
}

#[test]
fn a_device_that_firmware_does_not_let_go_has_lost_its_driver_all_the_same() {
    explore("refusal", 1, |machine| {
        let leave = |pnp: &Pnp, _: &_, at: &mut At<'_, Passive>| pnp.bus_changes().request_eject(at, PATH);
        while_used(machine, false, leave, |pnp, at| {
            assert_eq!(left(pnp, at), [(Some(NAME.into()), Departed::StillThere(Some(refusal())))]);
            assert_eq!(taken(pnp, at), (0, 0, 0));
        });
    });
}
