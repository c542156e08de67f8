//! Interrupts that nobody claims, without end: the machine stays up, driver and monitor are told, a restart mends it.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceRef, DeviceState, StormCause, prelude::*};
use hal_sim::run_once;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const NAME: &str = "stormy#0";

/// Its device sends messages that cannot be masked; the driver claims them when it is told to.
struct Stormy {
    regs: Regs,
    claims: InterruptLock<bool>,
    asked: AtomicU32,
    told: SpinLock<Vec<StormCause>>,
    irq: Interrupt<Bell>,
}

struct Bell;

impl Device for Stormy {
    const NAME: &'static str = "stormy";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let claims = InterruptLock::new(false);
        Ok(Stormy {
            regs: hw.map_bar(at, 0)?,
            irq: hw.interrupt(Bell, &claims).create()?,
            claims,
            asked: AtomicU32::new(0),
            told: SpinLock::new(Vec::new()),
        })
    }
}

impl EvtIsr for Bell {
    type Device = Stormy;
    type State = bool;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Stormy, claims: &mut bool, irq: &mut IsrCx<'_, Self>) -> Claim {
        dev.asked.fetch_add(1, SeqCst);
        if *claims { dev.regs.quiet(irq, 0) } else { Claim::NotMine }
    }

    fn evt_storm(&self, dev: &Stormy, cause: StormCause, irq: &mut DpcCx<'_, Self>) {
        dev.told.acquire(irq).push(cause);
    }
}

#[test]
fn c65_a_message_that_nobody_claims_is_cut_off_and_the_device_counts_as_failed_until_it_is_started_anew() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Stormy>(at);
            let device: DeviceRef<Stormy> = pnp.device(NAME).expect("it started");
            let on_device = |at: &mut At<'_, Passive>| {
                let rings = |dev: &Stormy, at: &mut At<'_, Passive>| {
                    (0..2 * ke::STORM).for_each(|_| dev.regs.ring.write(at, 1));
                    ke::flush_queued_dpcs(at);
                    (dev.asked.load(SeqCst), dev.told.acquire(at).clone())
                };
                device.with(at, rings).expect("it is there")
            };
            assert_eq!(on_device(at), (ke::STORM, vec![StormCause::NobodyClaims]), "masked after the last of these");
            let trouble = Status::Storm { number: 0, cause: StormCause::NobodyClaims };
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Failed(trouble));
            let row = &pnp.interrupts(at)[0];
            assert_eq!((row.storm, row.unclaimed), (Some(StormCause::NobodyClaims), ke::STORM.into()));

            pnp.forgive_interrupt(at, NAME, 0).expect("it is there");
            assert_eq!(pnp.interrupts(at)[0].storm, None);
            let missing = Status::NoSuchResource { what: "interrupt", number: 1 };
            assert_eq!(pnp.forgive_interrupt(at, NAME, 1), Err(missing));
            assert!(matches!(pnp.devices(at)[0].state, DeviceState::Failed(_)), "it is cut off all the same");

            pnp.stop_device(at, NAME).expect("it has not stopped by itself");
            pnp.start_device(at, NAME).expect("it is stopped");
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Started);
            let works = |dev: &Stormy, at: &mut At<'_, Passive>| {
                dev.claims.synchronize(at, |claims, _| *claims = true);
                dev.regs.ring.write(at, 1);
                assert_eq!((dev.regs.status.read(at), dev.asked.load(SeqCst)), (0, 1));
                // There is nothing to forgive.
                dev.irq.forgive(at);
            };
            device.with(at, works).expect("it is started");
            pnp.shut_down(at);
        });
    });
}
