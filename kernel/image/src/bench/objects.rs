//! Interrupt objects that no driver of the image has: one at PASSIVE, one whose source cannot be masked, many on one line,
//! and as many as there are vectors.

use super::{
    eight_times,
    window::{mark, traced},
};
use crate::sweep::software::{Unmaskable, connect, lock_of_class};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{
    hint::black_box,
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use hal_x86_64::X86Hal;
use ke::{
    At, Claim, Connection, Dirql, Dispatch, Interrupt, IsrLevel, Line, Mode, Passive, ServiceRoutine,
    connected_interrupts, hal::Hal, irql,
};

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

fn interrupt<L: IsrLevel>() -> Result<Arc<Interrupt<Raised<L>>>, String> {
    let routine = Raised { raised: AtomicBool::new(false), _level: PhantomData };
    Ok(Interrupt::new(routine, lock_of_class(irql::DEVICE_LOWEST)?))
}

fn connected<L: IsrLevel>(at: &mut At<'_, Passive>) -> Result<Connected<L>, String> {
    let interrupt = interrupt()?;
    let vector = connect(at, &interrupt, irql::DEVICE_LOWEST)?;
    Ok((interrupt, vector))
}

fn raise<L: IsrLevel>(interrupt: &Interrupt<Raised<L>>, vector: u8) {
    interrupt.routine().raised.store(true, Relaxed);
    mark();
    X86Hal.send_vector(0, vector);
    mark();
}

/// A raise up to the ISR at PASSIVE, and masking.
pub fn interrupts(at: &mut At<'_, Passive>) -> Result<(), String> {
    let (passive, vector) = connected::<Passive>(at)?;
    traced("passive_isr", at, |_| raise(&passive, vector));
    passive.disconnect(at);

    let (interrupt, _) = connected::<Dirql>(at)?;
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

/// Level-triggered lines with so many sharers, of which the last claims.
pub fn chains(at: &mut At<'_, Passive>) -> Result<(), String> {
    for sharers in [1, 2, 8] {
        chain(sharers, at)?;
    }
    Ok(())
}

fn chain(sharers: usize, at: &mut At<'_, Passive>) -> Result<(), String> {
    // Connecting one finds a vector that is free.
    let (finder, vector) = connected::<Dirql>(at)?;
    finder.disconnect(at);
    let line = Line::new(0, vector, Mode::LevelSensitive, Arc::new(Unmaskable));
    let mut members = Vec::new();
    for _ in 0..sharers {
        let member = interrupt::<Dirql>()?;
        let joined = member.connect_line(at, &line, Mode::LevelSensitive, true, ());
        joined.map_err(|error| error.to_string())?;
        members.push(member);
    }
    let last = members.last().ok_or("a line has members")?;
    traced(&format!("chain_{sharers}"), at, |_| raise(last, vector));
    for member in &members {
        member.disconnect(at);
    }
    Ok(())
}

/// Connecting when so many interrupts are connected, those of the drivers included.
pub fn connects(at: &mut At<'_, Passive>) -> Result<(), String> {
    let mut others = Vec::new();
    let drivers = connected_interrupts(at).len();
    for (window, count) in [("connect_few", drivers), ("connect_150", 150)] {
        let classes = irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST;
        let mut vectors = classes.rev().flat_map(|class| class << 4..=class << 4 | 0xf);
        while drivers + others.len() < count {
            let other = Interrupt::new(
                Raised::<Dirql> { raised: AtomicBool::new(false), _level: PhantomData },
                lock_of_class(irql::DEVICE_HIGHEST)?,
            );
            let vector = vectors.next().ok_or("there are not so many vectors")?;
            if connect_to(&other, vector, at) {
                others.push(other);
            }
        }
        let one = interrupt::<Dirql>()?;
        let vector = connect(at, &one, irql::DEVICE_LOWEST)?;
        traced(window, at, |at| {
            one.disconnect(at);
            mark();
            connect_to(&one, vector, at);
            mark();
        });
        one.disconnect(at);
    }
    for other in &others {
        other.disconnect(at);
    }
    Ok(())
}

fn connect_to(interrupt: &Arc<Interrupt<Raised<Dirql>>>, vector: u8, at: &mut At<'_, Passive>) -> bool {
    let connection = Connection { cpu: 0, vector, mode: Mode::Latched, source: Arc::new(Unmaskable) };
    interrupt.connect(at, connection, ()).is_ok()
}
