//! Interrupts with a common critical section, over two devices and two handler types.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceRef, prelude::*};
use hal_sim::run_once;

/// Device 0 interrupts at a high level and device 1 at a low one, both on CPU 0 and both with the driver's one lock.
/// Each has a second interrupt with a lock of its own.
struct Twin {
    regs: Regs,
    member: Member,
    own: Interrupt<Own>,
}

enum Member {
    High(Interrupt<High>),
    Low(Interrupt<Low>),
}

struct Both {
    lock: InterruptLock<Common>,
    /// The lock of the high device's own interrupt, for the low device's ISR.
    above: SpinLock<Option<InterruptLock<Trail>>>,
}

/// Behind the set's lock.
#[derive(Default)]
struct Common {
    high: u32,
    low: u32,
    /// With what the low device's ISR rings the high one.
    other: Option<Regs>,
    level_before: u8,
}

/// Behind an interrupt's own lock.
#[derive(Default)]
struct Trail {
    /// Where the ISR tries to nest to, and what came of it.
    nest: Option<InterruptLock<Trail>>,
    nested: Option<Result<u8, Nested>>,
    level_before: u8,
    level_after: u8,
    visits: u32,
}

struct High;
struct Low;
struct Own;

impl DriverEntry for Both {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Both { lock: InterruptLock::new(Common::default()), above: SpinLock::new(None) })
    }
}

impl Device for Twin {
    const NAME: &'static str = "twin";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = Both;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let Both { lock, above } = hw.driver();
        if hw.instance() == 0 {
            let level = lock.synchronize(at, |_, at| at.irql());
            assert_eq!(level, 12, "what its members will be is not known yet");
            let ring: Regs = hw.map_bar(at, 0)?;
            lock.synchronize(at, |common, _| common.other = Some(ring));
            let member = hw.interrupt(High, lock).affinity(Affinity::cpu(0)).priority(Priority::High).create()?;
            let own = hw.interrupt(Own, Trail::default()).create()?;
            *above.acquire(at) = Some(own.lock().clone());
            Ok(Twin { regs: hw.map_bar(at, 0)?, member: Member::High(member), own })
        } else {
            let member = hw.interrupt(Low, lock).affinity(Affinity::cpu(0)).priority(Priority::Low).create()?;
            let nest = above.acquire(at).clone();
            let own = hw.interrupt(Own, Trail { nest, ..Trail::default() }).create()?;
            Ok(Twin { regs: hw.map_bar(at, 0)?, member: Member::Low(member), own })
        }
    }
}

impl EvtIsr for High {
    type Device = Twin;
    type State = Common;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Twin, common: &mut Common, irq: &mut IsrCx<'_, Self>) -> Claim {
        common.high += 1;
        dev.regs.quiet(irq, 0)
    }
}

impl EvtIsr for Low {
    type Device = Twin;
    type State = Common;
    type Level = Dirql;
    type Deferred = Nothing;

    /// If the high interrupt were taken here it would wait for the lock that this ISR holds, for ever.
    fn evt_isr(&self, dev: &Twin, common: &mut Common, irq: &mut IsrCx<'_, Self>) -> Claim {
        common.low += 1;
        common.level_before = irq.irql();
        if let Some(other) = &common.other {
            other.ring.write(irq, 1);
        }
        dev.regs.quiet(irq, 0)
    }
}

impl EvtIsr for Own {
    type Device = Twin;
    type State = Trail;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Twin, trail: &mut Trail, irq: &mut IsrCx<'_, Self>) -> Claim {
        trail.level_before = irq.irql();
        if let Some(there) = &trail.nest {
            let nested = there.synchronize_nested(irq, |there, at| {
                there.visits += 1;
                at.irql()
            });
            trail.nested = Some(nested);
        }
        trail.level_after = irq.irql();
        dev.regs.quiet(irq, 1)
    }
}

fn with_twins(f: fn(&Twin, &Twin, &mut At<'_, Passive>)) {
    run_once(2, move |machine| {
        machine.device(Bells::default());
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Twin>(at);
            let [high, low]: [DeviceRef<Twin>; 2] =
                ["twin#0", "twin#1"].map(|name| pnp.device(name).expect("it started"));
            let done = high.with(at, |high, at| low.with(at, |low, at| f(high, low, at)));
            done.expect("twin#0 is started").expect("twin#1 is started");
            pnp.shut_down(at);
        });
    });
}

impl Twin {
    /// Rings interrupt `n` of this device. On CPU 0 it has been served when this returns.
    fn ring(&self, at: &mut At<'_, Passive>, n: u32) {
        self.regs.ring.write(at, 1 << n);
        assert_eq!(self.regs.status.read(at), 0, "the ISR has run");
    }

    fn member_info(&self, at: &mut At<'_, Passive>) -> Info {
        let info = match &self.member {
            Member::High(member) => member.info(at),
            Member::Low(member) => member.info(at),
        };
        info.expect("it is connected")
    }
}

#[test]
fn c29_shared_lock_runs_at_the_highest_dirql() {
    with_twins(|high, low, at| {
        let (above, below) = (high.member_info(at), low.member_info(at));
        assert!(above.irql >= 10 && below.irql <= 5);
        assert_eq!((above.synchronize_irql, below.synchronize_irql), (above.irql, above.irql));
        low.ring(at, 0);
        let Member::Low(member) = &low.member else { panic!("twin#1 has the low interrupt") };
        member.synchronize(at, |common, at| {
            assert_eq!((common.low, common.high), (1, 1), "the high one came after the low one, not into it");
            assert_eq!((common.level_before, at.irql()), (above.irql, above.irql));
        });
    });
}

#[test]
fn c31_a_lock_outside_the_set_keeps_its_own_level() {
    with_twins(|high, low, at| {
        for dev in [high, low] {
            let info = dev.own.info(at).expect("it is connected");
            assert_eq!(info.synchronize_irql, info.irql);
        }
    });
}

#[test]
fn c34_an_isr_synchronizes_with_a_higher_interrupt_and_no_other() {
    with_twins(|high, low, at| {
        let [above, below] = [high, low].map(|dev| dev.own.info(at).expect("it is connected").irql);
        low.ring(at, 1);
        low.own.synchronize(at, |trail, _| {
            assert_eq!(trail.nested, Some(Ok(above)));
            assert_eq!((trail.level_before, trail.level_after), (below, below));
        });
        assert_eq!(high.own.synchronize(at, |trail, _| trail.visits), 1);

        let refused = |here, there| Err(Nested::NotHigher { here, there });
        let downwards = high.own.synchronize(at, |_, at| low.own.synchronize_nested(at, |_, _| ()));
        assert_eq!(downwards, refused(above, below));
        let own = high.own.synchronize(at, |_, at| high.own.synchronize_nested(at, |_, _| ()));
        assert_eq!(own, refused(above, above));
        let Member::High(equal) = &high.member else { panic!("twin#0 has the high interrupt") };
        assert_eq!(high.own.synchronize(at, |_, at| equal.synchronize_nested(at, |_, _| ())), refused(above, above));
    });
}

#[test]
fn c28_synchronize_returns_what_the_closure_returned_and_restores_the_level() {
    with_twins(|high, _, at| {
        for answer in 0..3 {
            assert_eq!(high.own.synchronize(at, |_, _| answer), answer);
            assert_eq!(at.irql(), 0);
        }
        let spin = SpinLock::new(());
        spin.with(at, |(), at| {
            assert_eq!(high.own.synchronize(at, |_, _| 2), 2);
            assert_eq!(at.irql(), 2);
        });
    });
}
