//! Interrupt objects through the framework: several messages, shared locks, masks, disabling, deferred work.

use crate::bells::{self, Bells, MESSAGES, Regs, start};
use framework::{Affinity, DeviceRef, Mode, prelude::*};
use hal_sim::{Explorer, run_once};
use std::time::Duration;

/// A driver of four interrupts: 0 and 1 share a lock and have a DPC each, 2 has a work item, 3 does everything in its ISR
/// and is made in `device_add`.
struct Ringer {
    regs: Regs,
    shared: InterruptLock<u32>,
    dpc: [Interrupt<ByDpcBell>; 2],
    item: Interrupt<ByItemBell>,
    served: Event,
    count: SpinLock<[u32; MESSAGES as usize]>,
    errand: WorkItem<Errand>,
    queued_too_early: bool,
    lone: InterruptLock<u32>,
}

struct Made(Interrupt<LoneBell>);

/// What the `fail_at` register tells the driver to do with the interrupt of `device_add` in `prepare_hardware`.
const WITHOUT_LONE_BELL: u32 = 1;
const WITH_LONE_BELL: u32 = 2;
struct ByDpcBell(u16);
struct ByItemBell;
struct LoneBell;
struct Errand;

impl DeviceAdd<Ringer> for Made {
    fn device_add(init: &mut DeviceInit<'_, Ringer>, _: &mut At<'_, Passive>) -> Result<Self> {
        init.interrupt(LoneBell, 0).message(3).create().map(Made)
    }
}

impl Device for Ringer {
    const NAME: &'static str = "ringer";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = Made;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        assert_eq!(hw.interrupts(), MESSAGES.into());
        let regs: Regs = hw.map_bar(at, 0)?;
        match regs.fail_at.read(at) {
            WITHOUT_LONE_BELL => hw.added().0.disable(at)?,
            WITH_LONE_BELL => hw.added().0.enable(at)?,
            _ => {}
        }
        let shared = InterruptLock::new(0);
        let errand = hw.work_item(Errand);
        let too_many = hw.interrupt(ByItemBell, 0).message(4).create();
        assert_eq!(too_many.err(), Some(Status::NoInterruptLeft { created: 4, assigned: 4 }));
        Ok(Ringer {
            regs,
            dpc: [
                hw.interrupt(ByDpcBell(0), &shared).message(0).affinity(Affinity::cpu(0)).create()?,
                hw.interrupt(ByDpcBell(1), &shared).priority(Priority::High).create()?,
            ],
            item: hw.interrupt(ByItemBell, 0).create()?,
            shared,
            served: Event::new(),
            count: SpinLock::new([0; 4]),
            queued_too_early: errand.enqueue(at),
            lone: hw.added().0.lock().clone(),
            errand,
        })
    }
}

impl EvtIsr for ByDpcBell {
    type Device = Ringer;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Ringer, rung: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        assert_eq!(irq.message(), self.0);
        let claim = dev.regs.quiet(irq, self.0);
        *rung += 1;
        irq.queue_dpc();
        claim
    }
}

impl EvtDpc for ByDpcBell {
    fn evt_dpc(&self, dev: &Ringer, irq: &mut DpcCx<'_, Self>) {
        dev.serve(irq, self.0);
    }
}

impl EvtIsr for ByItemBell {
    type Device = Ringer;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, dev: &Ringer, rung: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        *rung += 1;
        irq.queue_work_item();
        dev.regs.quiet(irq, 2)
    }
}

impl EvtWorkItem for ByItemBell {
    fn evt_work_item(&self, dev: &Ringer, irq: &mut WorkCx<'_, Self>) {
        dev.serve(irq, 2);
    }
}

impl EvtIsr for LoneBell {
    type Device = Ringer;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Ringer, rung: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        *rung += 1;
        dev.regs.quiet(irq, 3)
    }
}

impl EvtWorkItemFunc for Errand {
    type Device = Ringer;

    fn evt_work_item_func(&self, dev: &Ringer, at: &mut At<'_, Passive>) {
        dev.served.set(at);
    }
}

impl Ringer {
    fn serve<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, n: u16) {
        self.count.acquire(at)[usize::from(n)] += 1;
        self.served.set(at);
    }

    /// Rings bell `n` and waits until it was served.
    fn ring(&self, at: &mut At<'_, Passive>, n: u16) {
        self.served.clear(at);
        self.regs.ring.write(at, 1 << n);
        self.served.wait(at).expect("the device is not stopped meanwhile");
    }

    fn counts(&self, at: &mut At<'_, Passive>) -> [u32; 4] {
        *self.count.acquire(at)
    }
}

fn with_ringer(cpus: usize, f: fn(&DeviceRef<Ringer>, &mut At<'_, Passive>)) {
    run_once(cpus, move |machine| {
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Ringer>(at);
            f(&pnp.device::<Ringer>("ringer#0").expect("it started"), at);
            pnp.shut_down(at);
        });
    });
}

fn on<R>(
    device: &DeviceRef<Ringer>,
    at: &mut At<'_, Passive>,
    f: impl FnOnce(&Ringer, &mut At<'_, Passive>) -> R,
) -> R {
    device.with(at, f).expect("it is started")
}

#[test]
fn every_message_reaches_its_own_handler() {
    with_ringer(2, |device, at| {
        on(device, at, |dev, at| {
            for n in [0, 1, 1, 2] {
                dev.ring(at, n);
            }
            assert_eq!(dev.counts(at), [1, 2, 1, 0]);
            assert_eq!(dev.shared.synchronize(at, |rung, _| *rung), 3, "0 and 1 share their state");
            assert_eq!(dev.item.synchronize(at, |rung, _| *rung), 1);
        });
    });
}

#[test]
fn a_set_synchronizes_at_its_highest_member() {
    with_ringer(2, |device, at| {
        on(device, at, |dev, at| {
            let [first, second] = [0, 1].map(|n: usize| dev.dpc[n].info(at).expect("it is connected"));
            let highest = first.irql.max(second.irql);
            assert_eq!((first.synchronize_irql, second.synchronize_irql), (highest, highest));
            assert_eq!((first.number, second.number), (0, 1));
            assert_eq!(second.vector, first.vector + 1, "MSI messages are one block");
            assert_eq!(first.cpu, 0);
            let here = dev.shared.synchronize(at, |_, at| at.irql());
            assert_eq!(here, highest);
        });
    });
}

#[test]
fn a_masked_interrupt_is_delivered_when_it_is_unmasked() {
    with_ringer(1, |device, at| {
        on(device, at, |dev, at| {
            let (outer, inner) = (dev.item.mask(at), dev.item.mask(at));
            dev.regs.ring.write(at, 1 << 2);
            outer.unmask(at);
            assert_eq!(dev.item.synchronize(at, |rung, _| *rung), 0, "masks count");
            inner.unmask(at);
            dev.served.wait(at).expect("the device is not stopped meanwhile");
            assert_eq!(dev.counts(at), [0, 0, 1, 0]);
        });
    });
}

#[test]
fn a_disabled_interrupt_is_not_connected_until_it_is_enabled() {
    with_ringer(1, |device, at| {
        on(device, at, |dev, at| {
            dev.dpc[0].disable(at).expect("it can be disabled");
            assert!(!dev.dpc[0].info(at).expect("it has been assigned something").active);
            assert!(!dev.dpc[0].queue_dpc(at), "what is not connected has no DPC");
            dev.dpc[0].disable(at).expect("once more is as good");
            dev.dpc[0].enable(at).expect("it can be enabled");
            assert!(dev.dpc[0].info(at).is_some_and(|info| info.active));
            dev.ring(at, 0);
            assert!(dev.dpc[0].queue_dpc(at), "anybody may queue it");
        });
    });
}

#[test]
fn info_says_what_was_granted_from_assignment_to_stop() {
    with_ringer(2, |device, at| {
        on(device, at, |dev, at| {
            let info = dev.dpc[0].info(at).expect("it is assigned");
            assert_eq!(dev.dpc[0].policy().affinity, Affinity::cpu(0), "asked");
            assert_eq!((info.target_processors(), info.group()), (CpuSet::of([0]), 0), "granted");
            assert_eq!((info.grant().vector, info.irql), (info.vector, info.vector >> 4));
            assert!(info.message_signaled() && !info.shared() && info.active);
            assert_eq!((info.polarity(), info.mode, info.number), (None, Mode::Latched, 0));
            dev.dpc[0].disable(at).expect("it can be disabled");
            let disabled = dev.dpc[0].info(at).expect("it is still assigned");
            assert_eq!(disabled, Info { active: false, ..info });
            dev.dpc[0].enable(at).expect("it can be enabled");
            dev.dpc[0].enable(at).expect("once more is as good: it is not connected twice");
            assert_eq!(dev.dpc[0].info(at), Some(info));
        });
    });
}

#[test]
fn a_rebalance_connects_only_what_was_connected() {
    run_once(2, |machine| {
        let bells = machine.device(Bells::failing_at(WITHOUT_LONE_BELL));
        machine.main(move |at| {
            let pnp = start::<Ringer>(at);
            let device = pnp.device::<Ringer>("ringer#0").expect("it started");
            let active = |at: &mut At<'_, Passive>| {
                let mut rows = pnp.interrupts(at);
                rows.sort_by_key(|row| row.message);
                rows.iter().map(|row| row.active).collect::<Vec<_>>()
            };
            assert_eq!(active(at), [true, true, true, false]);
            bells.with(|bells| bells.fail_at = 0);
            pnp.rebalance_device(at, "ringer#0").expect("there are vectors");
            assert_eq!(active(at), [true, true, true, false], "it stays disabled until the driver enables it");
            on(&device, at, |dev, at| dev.ring(at, 0));
            bells.with(|bells| bells.fail_at = WITH_LONE_BELL);
            pnp.rebalance_device(at, "ringer#0").expect("there are vectors");
            assert_eq!(active(at), [true; 4]);
            pnp.shut_down(at);
        });
    });
}

#[test]
fn what_device_add_made_lives_over_a_restart() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Ringer>(at);
            let device = pnp.device::<Ringer>("ringer#0").expect("it started");
            on(&device, at, |dev, at| dev.regs.ring.write(at, 1 << 3));
            assert_eq!(pnp.interrupts(at).len(), 4);
            pnp.stop_device(at, "ringer#0").expect("it is started");
            let rows = pnp.interrupts(at);
            assert_eq!(rows.len(), 1, "the others belonged to that run");
            assert_eq!((rows[0].message, rows[0].grant), (3, None));
            pnp.start_device(at, "ringer#0").expect("it is stopped");
            on(&device, at, |dev, at| dev.regs.ring.write(at, 1 << 3));
            let rows = pnp.interrupts(at);
            assert_eq!(rows.len(), 4);
            let lone = rows.iter().find(|row| row.message == 3).expect("it is still there");
            assert_eq!(lone.counts.iter().sum::<u64>(), 2);
            assert_eq!(on(&device, at, |dev, at| dev.lone.synchronize(at, |rung, _| *rung)), 2);
            pnp.shut_down(at);
        });
    });
}

#[test]
fn c85_a_work_item_runs_from_start_to_stop_only() {
    with_ringer(1, |device, at| {
        on(device, at, |dev, at| {
            assert!(!dev.queued_too_early, "the device had not started");
            assert!(dev.errand.enqueue(at));
            dev.errand.flush(at);
            assert!(dev.served.is_set(at));
        });
    });
}

/// Whatever runs when, nothing is lost and nothing runs too late: the framework's own teardown, explored.
#[test]
fn a_stop_while_bells_ring() {
    for cpus in [1, 2] {
        let explorer = Explorer::new(&format!("stop while bells ring on {cpus}")).cpus(cpus);
        explorer.limit(Duration::from_secs(10)).run(|machine| {
            machine.device(Bells::default());
            machine.main(|at| {
                let pnp = start::<Ringer>(at);
                let device = pnp.device::<Ringer>("ringer#0").expect("it started");
                on(&device, at, |dev, at| dev.regs.ring.write(at, 0b0111));
                pnp.stop_device(at, "ringer#0").expect("it is started");
                pnp.shut_down(at);
            });
        });
    }
}
