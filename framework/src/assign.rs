//! Who gets which interrupt: from the objects of a device and what its bus gives to vectors, settled locks and sources.
//!
//! A device interrupts by messages or by lines, as its bus gave them; a driver, or the image, may ask for lines where
//! there are both. Interrupt object `n` gets message or line `n`.
//!
//! **Invariant:** everything is assigned and every lock settled before the first interrupt of the device is connected.

use crate::{
    Device, Result,
    interrupt::{AnyInterrupt, Assignment, Block},
    pnp::Shared,
    session::Surroundings,
};
use alloc::{sync::Arc, vec::Vec};
use core::cmp::Reverse;
use io::{Grant, Line, Messages, PciDevice, Policy};
use ke::{At, Passive, irql};

/// What an interrupt asks of its vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes<'a> {
    pub policy: &'a Policy,
    /// No higher DIRQL than this.
    pub ceiling: u8,
}

/// What a device has taken of the machine's interrupts.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    blocks: Vec<Arc<Block>>,
    /// Lines, by their number.
    lines: Vec<u32>,
}

impl Taken {
    /// Gives all back. Nothing is connected to it any more.
    pub fn give_back(&mut self, shared: &Shared, at: &mut At<'_, Passive>) {
        for block in self.blocks.drain(..) {
            let first = block.first(at);
            shared.vectors.acquire(at).free(first, block.count);
        }
        for gsi in self.lines.drain(..) {
            shared.lines.give_back(&shared.vectors, gsi, at);
        }
    }
}

type Interrupts<D> = [Arc<dyn AnyInterrupt<D>>];

/// For each interrupt of the device, in order of creation, what it is to be connected to. `None` where the bus had nothing.
/// What was taken is in `taken`, also on an error.
pub(crate) fn assign<D: Device>(
    around: &Surroundings<'_, D>,
    taken: &mut Taken,
    at: &mut At<'_, Passive>,
) -> Result<Vec<Option<Assignment>>> {
    let interrupts = &around.creator.interrupts[..];
    match around.hardware.messages() {
        Some((pci, messages)) if !around.by_line && interrupts.iter().all(|each| !each.wants_line()) => {
            assign_messages(around.shared, pci, messages, interrupts, taken, at)
        }
        _ => assign_lines(around, &around.hardware.lines(), interrupts, taken, at),
    }
}

fn assign_messages<D: Device>(
    shared: &Shared,
    pci: &Arc<PciDevice>,
    messages: Messages,
    interrupts: &Interrupts<D>,
    taken: &mut Taken,
    at: &mut At<'_, Passive>,
) -> Result<Vec<Option<Assignment>>> {
    let bound: Vec<_> = interrupts.iter().filter(|each| each.number() < messages.count()).collect();
    let Some(used) = bound.iter().map(|each| each.number() + 1).max() else {
        return Ok(interrupts.iter().map(|_| None).collect());
    };
    let mut take = |wishes: Wishes<'_>, count: u16, at: &mut At<'_, Passive>| -> Result<Arc<Block>> {
        let first = shared.vectors.acquire(at).assign(wishes.policy, wishes.ceiling, count)?;
        taken.blocks.push(Arc::new(Block::new(first, count)));
        Ok(taken.blocks[taken.blocks.len() - 1].clone())
    };
    // For each message its block, and which vector of that it is.
    let mut places: Vec<Option<(Arc<Block>, u16)>> = (0..used).map(|_| None).collect();
    match messages.block(used) {
        // One block for all.
        Some(count) => {
            let block = take(wishes_of(&bound), count, at)?;
            places.iter_mut().zip(0..).for_each(|(place, nth)| *place = Some((block.clone(), nth)));
        }
        None => {
            for interrupt in &bound {
                places[usize::from(interrupt.number())] = Some((take(wishes_of(&[*interrupt]), 1, at)?, 0));
            }
        }
    }
    let mut grants: Vec<Option<Grant>> = Vec::with_capacity(places.len());
    for place in &places {
        grants.push(place.as_ref().map(|(block, nth)| block.first(at).nth(*nth)));
    }
    settle(bound.iter().filter_map(|each| Some((*each, grants[usize::from(each.number())]?.irql()))))?;
    let contents: Vec<_> = grants.iter().map(|grant| grant.map(|g| at.msi_message(g.cpu, g.vector))).collect();
    let sources = pci.program_messages(at, &contents)?.into_iter().map(Arc::new);
    let mut assignments: Vec<Option<Assignment>> = places
        .into_iter()
        .zip(sources)
        .map(|(place, source)| place.map(|(block, nth)| Assignment::Message { block, nth, source }))
        .collect();
    Ok(interrupts.iter().map(|each| assignments.get_mut(usize::from(each.number())).and_then(Option::take)).collect())
}

fn assign_lines<D: Device>(
    around: &Surroundings<'_, D>,
    lines: &[Line],
    interrupts: &Interrupts<D>,
    taken: &mut Taken,
    at: &mut At<'_, Passive>,
) -> Result<Vec<Option<Assignment>>> {
    if let Some((pci, _)) = around.hardware.messages() {
        // Whatever has run the function before: with messages on it does not drive its line.
        pci.disable_messages(at)?;
    }
    let lines = if around.shared.lines.are_usable() { lines } else { &[] };
    let mut cores = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let bound: Vec<_> = interrupts.iter().filter(|each| usize::from(each.number()) == n).collect();
        if bound.is_empty() {
            cores.push(None);
            continue;
        }
        let core = around.shared.lines.take(&around.shared.vectors, *line, wishes_of(&bound), at)?;
        taken.lines.push(line.gsi);
        cores.push(Some(core));
    }
    let core_of = |each: &Arc<dyn AnyInterrupt<D>>| cores.get(usize::from(each.number())).cloned().flatten();
    settle(interrupts.iter().filter_map(|each| Some((each, core_of(each)?.irql()))))?;
    let pin = around.hardware.pin_switch();
    let assignment = |each: &Arc<dyn AnyInterrupt<D>>| {
        let (core, line) = (core_of(each)?, lines[usize::from(each.number())]);
        let shared = each.shares().unwrap_or_else(|| around.hardware.shares(line));
        Some(Assignment::Line { core, line, shared, pin: pin.clone() })
    };
    Ok(interrupts.iter().map(assignment).collect())
}

/// The first one's policy, under everybody's ceiling. `all` has at least one.
fn wishes_of<'a, D: Device>(all: &[&'a Arc<dyn AnyInterrupt<D>>]) -> Wishes<'a> {
    let ceilings = all.iter().map(|each| each.settled_ceiling().unwrap_or(irql::DEVICE_HIGHEST));
    Wishes { policy: all[0].policy(), ceiling: ceilings.min().unwrap_or(irql::DEVICE_HIGHEST) }
}

/// Settles the locks. Highest first: the first member of a set to settle then settles it at the set's highest level.
fn settle<'a, D: Device>(interrupts: impl Iterator<Item = (&'a Arc<dyn AnyInterrupt<D>>, u8)>) -> Result<()> {
    let mut by_level: Vec<_> = interrupts.collect();
    by_level.sort_by_key(|(_, irql)| Reverse(*irql));
    for (interrupt, irql) in by_level {
        interrupt.settle(irql)?;
    }
    Ok(())
}
