//! Interrupt objects that no driver of the image has: one at PASSIVE, and one whose source cannot be masked.

use super::{
    eight_times,
    window::{mark, traced},
};
use crate::sweep::software::{connect, lock_of_class};
use alloc::{string::String, sync::Arc};
use core::{
    hint::black_box,
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use hal_x86_64::X86Hal;
use ke::{At, Claim, Dispatch, Interrupt, IsrLevel, Passive, ServiceRoutine, hal::Hal, irql};

/// An interrupt that the program raises. Its ISR claims once for each raise, as an edge-triggered line's members must.
struct Raised<L> {
    raised: AtomicBool,
    _level: PhantomData<fn() -> L>,
}

impl<L: IsrLevel> Raised<L> {
    fn evt_isr(&self) -> Claim {
        if self.raised.swap(false, Relaxed) { Claim::Mine } else { Claim::NotMine }
    }
}

impl<L: IsrLevel> ServiceRoutine for Raised<L> {
    type State = ();
    type Level = L;
    type Context = ();

    fn service(&self, _: &(), _: &mut (), _: &Interrupt<Self>, _: &mut At<'_, L>) -> Claim {
        self.evt_isr()
    }

    fn dpc(&self, _: &(), _: &Interrupt<Self>, _: &mut At<'_, Dispatch>) {}

    fn work_item(&self, _: &(), _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "bench".into()
    }
}

/// An interrupt and its vector.
type Connected<L> = (Arc<Interrupt<Raised<L>>>, u8);

fn raised<L: IsrLevel>(at: &mut At<'_, Passive>) -> Result<Connected<L>, String> {
    let routine = Raised { raised: AtomicBool::new(false), _level: PhantomData };
    let interrupt = Interrupt::new(routine, lock_of_class(irql::DEVICE_LOWEST)?);
    let vector = connect(at, &interrupt, irql::DEVICE_LOWEST)?;
    Ok((interrupt, vector))
}

/// A raise up to the ISR at PASSIVE, and masking.
pub fn interrupts(at: &mut At<'_, Passive>) -> Result<(), String> {
    let (passive, vector) = raised::<Passive>(at)?;
    traced("passive_isr", at, |_| {
        passive.routine().raised.store(true, Relaxed);
        mark();
        X86Hal.send_vector(0, vector);
        mark();
    });
    passive.disconnect(at);

    let (interrupt, _) = raised::<ke::Dirql>(at)?;
    let masked = black_box(&interrupt);
    traced("mask_unmask", at, |at| {
        mark();
        eight_times!(masked.mask(at).unmask(at));
        mark();
        mark();
    });
    interrupt.disconnect(at);
    Ok(())
}
