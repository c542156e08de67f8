//! Passive-level interrupts: ISRs in a thread, under a wait lock.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceRef, prelude::*};
use hal_sim::{Explorer, run_once};
use std::time::Duration;

/// Nanoseconds that an ISR sleeps.
const NAP: u64 = 1_000_000;

/// 0 and 1 share a wait lock, 0 with a DPC; 2 has a lock of its own and a work item.
struct Sleepy {
    regs: Regs,
    shared: InterruptLock<Shared, Passive>,
    first: Interrupt<Sharer<0>>,
    lone: Interrupt<Lone>,
    deferred: SpinLock<Deferred>,
    served: Event,
    nobody_sets_this: Event,
    /// The ISR of 2 waits for the one of 0 in the middle of its work.
    meet: Event,
}

/// Behind the lock of 0 and 1.
#[derive(Default)]
struct Shared {
    runs: [u32; 2],
    inside: bool,
}

#[derive(Default)]
struct Deferred {
    dpcs: u32,
    items: u32,
    met: u32,
}

struct Sharer<const N: usize>;
struct Lone;

impl Device for Sleepy {
    const NAME: &'static str = "sleepy";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let shared = InterruptLock::new(Shared::default());
        Ok(Sleepy {
            regs: hw.map_bar(at, 0)?,
            first: hw.interrupt(Sharer::<0>, &shared).create()?,
            lone: {
                hw.interrupt(Sharer::<1>, &shared).create()?;
                hw.interrupt(Lone, 0).create()?
            },
            shared,
            deferred: SpinLock::new(Deferred::default()),
            served: Event::new(),
            nobody_sets_this: Event::new(),
            meet: Event::new(),
        })
    }
}

impl<const N: usize> EvtIsr for Sharer<N> {
    type Device = Sleepy;
    type State = Shared;
    type Level = Passive;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Sleepy, shared: &mut Shared, irq: &mut IsrCx<'_, Self>) -> Claim {
        assert_eq!(irq.irql(), 0);
        let claim = dev.regs.quiet(irq, N as u16);
        if claim == Claim::NotMine {
            return claim;
        }
        shared.runs[N] += 1;
        assert!(!std::mem::replace(&mut shared.inside, true), "two ISRs under one wait lock");
        dev.meet.set(irq);
        assert_eq!(dev.nobody_sets_this.wait_timeout(irq, NAP), Err(WaitError::TimedOut));
        shared.inside = false;
        irq.queue_dpc();
        claim
    }
}

impl<const N: usize> EvtDpc for Sharer<N> {
    fn evt_dpc(&self, dev: &Sleepy, irq: &mut DpcCx<'_, Self>) {
        dev.deferred.acquire(irq).dpcs += 1;
        dev.served.set(irq);
    }
}

impl EvtIsr for Lone {
    type Device = Sleepy;
    type State = u32;
    type Level = Passive;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, dev: &Sleepy, runs: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = dev.regs.quiet(irq, 2);
        if claim == Claim::Mine {
            *runs += 1;
            if dev.meet.wait_timeout(irq, NAP / 2).is_ok() {
                dev.deferred.acquire(irq).met += 1;
            }
            irq.queue_work_item();
        }
        claim
    }
}

impl EvtWorkItem for Lone {
    fn evt_work_item(&self, dev: &Sleepy, irq: &mut WorkCx<'_, Self>) {
        irq.synchronize(|_, at| dev.deferred.acquire(at).items += 1);
        dev.served.set(irq);
    }
}

impl Sleepy {
    fn runs(&self, at: &mut At<'_, Passive>) -> [u32; 2] {
        self.shared.synchronize(at, |shared, _| shared.runs)
    }

    /// Rings `bits` and waits until something was served.
    fn ring(&self, at: &mut At<'_, Passive>, bits: u32) {
        self.served.clear(at);
        self.regs.ring.write(at, bits);
        self.served.wait(at).expect("the device is not stopped meanwhile");
    }
}

fn with_sleepy(cpus: usize, f: fn(&Sleepy, &mut At<'_, Passive>)) {
    run_once(cpus, move |machine| {
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Sleepy>(at);
            let device: DeviceRef<Sleepy> = pnp.device("sleepy#0").expect("it started");
            device.with(at, f).expect("it is started");
            pnp.shut_down(at);
        });
    });
}

/// A message without a mask bit, an ISR that sleeps: it runs at PASSIVE, and its DPC after it.
#[test]
fn c55_a_passive_isr_runs_at_passive_and_may_sleep() {
    with_sleepy(1, |dev, at| {
        let before = at.now();
        dev.ring(at, 1);
        assert!(at.now() >= before + NAP);
        assert_eq!(dev.runs(at), [1, 0]);
        assert_eq!(dev.deferred.acquire(at).dpcs, 1);
        let info = dev.first.info(at).expect("it is connected");
        assert_eq!(info.synchronize_irql, 0);
    });
}

#[test]
fn a_passive_interrupt_can_continue_in_a_work_item() {
    with_sleepy(2, |dev, at| {
        dev.ring(at, 0b100);
        assert_eq!(dev.lone.synchronize(at, |runs, _| *runs), 1);
        assert_eq!(dev.deferred.acquire(at).items, 1);
    });
}

/// In every schedule: the assertion is in the ISR.
#[test]
fn c55_isrs_that_share_a_wait_lock_never_overlap() {
    for cpus in [1, 2] {
        let explorer = Explorer::new(&format!("two passive ISRs with one wait lock on {cpus}")).cpus(cpus);
        explorer.limit(Duration::from_secs(2)).run(|machine| {
            machine.device(Bells::default());
            machine.main(|at| {
                let pnp = start::<Sleepy>(at);
                let device: DeviceRef<Sleepy> = pnp.device("sleepy#0").expect("it started");
                let both = |dev: &Sleepy, at: &mut At<'_, Passive>| {
                    dev.regs.ring.write(at, 0b11);
                    while dev.runs(at) != [1, 1] {
                        dev.served.wait(at).expect("the device is not stopped meanwhile");
                        dev.served.clear(at);
                    }
                };
                device.with(at, both).expect("it is started");
                pnp.shut_down(at);
            });
        });
    }
}

#[test]
fn c55_isrs_with_separate_wait_locks_do_overlap() {
    with_sleepy(1, |dev, at| {
        dev.ring(at, 0b101);
        while dev.deferred.acquire(at).met == 0 {
            dev.served.wait(at).expect("the device is not stopped meanwhile");
            dev.served.clear(at);
        }
        assert_eq!(dev.lone.synchronize(at, |runs, _| *runs), 1, "2 was asked while 0 slept");
    });
}

#[test]
fn c57_the_wait_lock_can_be_tried() {
    with_sleepy(1, |dev, at| {
        assert!(dev.first.try_acquire_lock(at).is_some());
        dev.regs.ring.write(at, 1);
        dev.meet.wait(at).expect("the device is not stopped meanwhile");
        assert!(dev.first.try_acquire_lock(at).is_none(), "the ISR sleeps with it");
        dev.served.wait(at).expect("the device is not stopped meanwhile");
        assert_eq!(dev.first.try_acquire_lock(at).expect("it is free again").runs, [1, 0]);
    });
}

/// A message that comes while the ISR is at work on the last one makes it run again: if it did not, the test would wait
/// for ever.
#[test]
fn no_message_is_lost_while_a_passive_isr_runs() {
    for cpus in [1, 2] {
        let explorer = Explorer::new(&format!("messages while a passive ISR runs on {cpus}")).cpus(cpus);
        explorer.limit(Duration::from_secs(2)).run(|machine| {
            machine.device(Bells::default());
            machine.main(|at| {
                let pnp = start::<Sleepy>(at);
                let device: DeviceRef<Sleepy> = pnp.device("sleepy#0").expect("it started");
                let twice = |dev: &Sleepy, at: &mut At<'_, Passive>| {
                    dev.regs.ring.write(at, 1);
                    dev.meet.wait(at).expect("the device is not stopped meanwhile");
                    dev.regs.ring.write(at, 1);
                    while dev.runs(at) != [2, 0] {
                        dev.served.wait(at).expect("the device is not stopped meanwhile");
                        dev.served.clear(at);
                    }
                };
                device.with(at, twice).expect("it is started");
                pnp.shut_down(at);
            });
        });
    }
}

#[test]
fn a_stop_while_passive_isrs_run() {
    let explorer = Explorer::new("stop while passive ISRs run").cpus(2);
    explorer.limit(Duration::from_secs(2)).run(|machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Sleepy>(at);
            let device: DeviceRef<Sleepy> = pnp.device("sleepy#0").expect("it started");
            device.with(at, |dev, at| dev.regs.ring.write(at, 0b111)).expect("it is started");
            pnp.stop_device(at, "sleepy#0").expect("it is started");
            pnp.shut_down(at);
        });
    });
}
