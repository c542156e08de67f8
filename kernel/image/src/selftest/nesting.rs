//! The deepest nesting that there is: over a thread an interrupt's exit that drains, the DPC there, and over that an ISR of
//! every device class, each interrupting the one below.

use super::{
    Outcome,
    crew::{ensure, on_every_cpu},
};
use crate::{
    conformance::soft::{Deferred, Wire, dawdle, nothing, soft},
    sweep::software::lock_of_class,
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::{
    hint::black_box,
    ptr,
    sync::atomic::{
        AtomicU8, AtomicU32, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use hal_x86_64::stacks;
use ke::{At, Dirql, Dispatch, InterruptLock, Passive, irql};

/// ISRs that can be on top of each other.
const CLASSES: u32 = (irql::DEVICE_HIGHEST - irql::DEVICE_LOWEST + 1) as u32;
/// More than this of a stack would leave drivers too little.
const MOST_BYTES: usize = stacks::SIZE as usize / 4;

/// How deep a climb got.
struct Climbed {
    isrs: u32,
    /// From the thread to the highest ISR.
    bytes: usize,
}

struct Climb {
    /// By class.
    vectors: [AtomicU8; 16],
    depth: AtomicU32,
    deepest: AtomicU32,
    /// The address in the highest ISR's frame.
    top_of_stack: AtomicUsize,
    at_the_top: fn(),
}

impl Climb {
    fn pull(&self, class: u8, cpu: u32) {
        Wire { cpu, vector: self.vectors[usize::from(class)].load(Acquire) }.pull();
        dawdle();
    }

    /// The ISR of `class`: the next one interrupts it.
    fn step(&self, class: u8, cpu: u32) {
        self.deepest.fetch_max(self.depth.fetch_add(1, Relaxed) + 1, Relaxed);
        self.top_of_stack.fetch_min(address_in_this_frame(), Relaxed);
        match class {
            irql::DEVICE_HIGHEST => (self.at_the_top)(),
            _ => self.pull(class + 1, cpu),
        }
        self.depth.fetch_sub(1, Relaxed);
    }
}

#[inline(never)]
fn address_in_this_frame() -> usize {
    let mark = black_box(0u8);
    ptr::from_ref(&mark).addr()
}

/// Climbs on this thread's CPU, which it stays on, and runs `at_the_top` in the highest ISR.
fn climb(at: &mut At<'_, Passive>, at_the_top: fn()) -> Result<Climbed, String> {
    let shared = Arc::new(Climb {
        vectors: Default::default(),
        depth: AtomicU32::new(0),
        deepest: AtomicU32::new(0),
        top_of_stack: AtomicUsize::new(usize::MAX),
        at_the_top,
    });
    let here = at.cpu();
    let mut steps = Vec::new();
    for class in irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST {
        let (lock, climb): (InterruptLock<()>, _) = (lock_of_class(class)?, shared.clone());
        let isr = move |(): &mut (), _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| climb.step(class, at.cpu());
        let step = soft(at, here, class, &lock, isr, nothing)?;
        step.interrupt.routine().note_event();
        shared.vectors[usize::from(class)].store(step.wire.vector, Release);
        steps.push(step);
    }
    let (lock, climb): (InterruptLock<()>, _) = (lock_of_class(irql::DEVICE_LOWEST)?, shared.clone());
    let isr = |(): &mut (), this: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
        this.queue_dpc(at);
    };
    let dpc = move |_: &InterruptLock<()>, at: &mut At<'_, Dispatch>| climb.pull(irql::DEVICE_LOWEST, at.cpu());
    let first = soft(at, here, irql::DEVICE_LOWEST, &lock, isr, dpc)?;
    let bottom = address_in_this_frame();
    first.raise();
    for step in &steps {
        step.await_served(at, 1)?;
    }
    first.disconnect(at)?;
    steps.iter().try_for_each(|step| step.disconnect(at))?;
    let bytes = bottom.saturating_sub(shared.top_of_stack.load(Relaxed));
    Ok(Climbed { isrs: shared.deepest.load(Relaxed), bytes })
}

/// On every CPU.
pub fn deepest(at: &mut At<'_, Passive>) -> Outcome {
    on_every_cpu(at, |cpu, at| {
        let Climbed { isrs, bytes } = climb(at, || ())?;
        at.print(format_args!("CPU {cpu}: {isrs} ISRs over a DPC took {bytes} bytes of a stack's {}\n", stacks::SIZE));
        ensure(isrs == CLASSES, || format!("{isrs} of {CLASSES} ISRs were on top of each other"))?;
        ensure(0 < bytes && bytes <= MOST_BYTES, || format!("they took {bytes} bytes; {MOST_BYTES} are allowed"))
    })
}

/// Runs `at_the_top` where the least of a stack is left.
pub fn run_at_the_top(at: &mut At<'_, Passive>, at_the_top: fn()) -> Outcome {
    on_every_cpu(at, move |cpu, at| if cpu == 0 { climb(at, at_the_top).map(drop) } else { Ok(()) })
}
