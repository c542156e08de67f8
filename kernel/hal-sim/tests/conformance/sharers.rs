//! Lines beyond the numbered cases: nothing is lost whatever comes between two `Hal` calls.

use crate::{
    closures::{Deferred, interrupt, nothing},
    support::{AtDirql, AtPassive, Card, GSI, MACHINES, Sharer, VECTOR, card_on, fine, line, spawn},
};
use hal_sim::{Device, LineInput, Setup};
use ke::{
    At, Dirql, Event, InterruptLock, IsrLevel, Line, MOST_PASSES, Mode, Passive, STORM, Source, SpinLock,
    thread::ThreadOptions,
};
use std::sync::Arc;

/// Two cards, each with `events`, on one line served on the last CPU.
fn two_at_dirql(mode: Mode, cpus: usize, events: u32) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [first, second] = cards.map(AtDirql::new);
            let line = line(at, mode, cpus as u32 - 1);
            first.join(at, &line);
            second.join(at, &line);
            first.start(events);
            second.start(events);
            first.finish(at);
            second.finish(at);
            first.leave(at);
            second.leave(at);
        });
    }
}

#[test]
fn an_edge_rescan_loses_no_edge_of_another_device() {
    for cpus in MACHINES {
        fine("edge rescan", cpus, two_at_dirql(Mode::Latched, cpus, 2));
    }
}

#[test]
fn a_level_chain_loses_nothing() {
    for cpus in MACHINES {
        fine("level chain", cpus, two_at_dirql(Mode::LevelSensitive, cpus, 2));
    }
}

/// One served at DIRQL, one at PASSIVE.
fn mixed(mode: Mode, cpus: usize) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let cards = (card_on(machine, GSI), card_on(machine, GSI));
        machine.main(move |at| {
            let (fast, slow) = (AtDirql::new(cards.0), AtPassive::new(cards.1));
            let line = line(at, mode, cpus as u32 - 1);
            slow.join(at, &line);
            fast.join(at, &line);
            fast.start(2);
            slow.start(2);
            slow.finish(at);
            fast.finish(at);
            slow.leave(at);
            fast.leave(at);
        });
    }
}

#[test]
fn a_level_line_with_a_pass_at_passive_loses_nothing() {
    for cpus in MACHINES {
        fine("level line, DIRQL and PASSIVE", cpus, mixed(Mode::LevelSensitive, cpus));
    }
}

#[test]
fn an_edge_line_with_a_pass_at_passive_loses_nothing() {
    for cpus in MACHINES {
        fine("edge line, DIRQL and PASSIVE", cpus, mixed(Mode::Latched, cpus));
    }
}

/// Two at PASSIVE.
fn two_at_passive(mode: Mode, cpus: usize) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [first, second] = cards.map(AtPassive::new);
            let line = line(at, mode, cpus as u32 - 1);
            first.join(at, &line);
            second.join(at, &line);
            first.start(2);
            second.start(1);
            first.finish(at);
            second.finish(at);
            first.leave(at);
            second.leave(at);
        });
    }
}

#[test]
fn passive_sharers_lose_nothing() {
    for cpus in MACHINES {
        fine("level line, PASSIVE", cpus, two_at_passive(Mode::LevelSensitive, cpus));
        fine("edge line, PASSIVE", cpus, two_at_passive(Mode::Latched, cpus));
    }
}

/// The first goes while the line fires for both.
fn one_leaves<L: IsrLevel>(mode: Mode, cpus: usize) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [leaving, staying] = cards.map(Sharer::<L>::new);
            let line = line(at, mode, cpus as u32 - 1);
            leaving.join(at, &line);
            staying.join(at, &line);
            staying.start(2);
            leaving.leave(at);
            staying.finish(at);
            staying.leave(at);
        });
    }
}

#[test]
fn a_member_leaves_while_the_line_fires() {
    for cpus in MACHINES {
        fine("leaves a level line", cpus, one_leaves::<Dirql>(Mode::LevelSensitive, cpus));
        fine("leaves an edge line", cpus, one_leaves::<Dirql>(Mode::Latched, cpus));
    }
}

#[test]
fn a_passive_member_leaves_while_the_pass_runs() {
    for mode in [Mode::LevelSensitive, Mode::Latched] {
        fine("leaves during a pass", 2, one_leaves::<Passive>(mode, 2));
    }
}

/// What it is masked for until the pass is over is undone, though the pass has nobody left to ask.
#[test]
fn the_last_passive_member_leaves_while_a_pass_is_wanted() {
    for cpu in [0, 1] {
        fine("last passive member leaves", 2, move |machine| {
            let cards = (card_on(machine, GSI), card_on(machine, GSI));
            machine.main(move |at| {
                let (staying, leaving) = (AtDirql::new(cards.0), AtPassive::new(cards.1));
                let line = line(at, Mode::LevelSensitive, cpu);
                staying.join(at, &line);
                leaving.join(at, &line);
                leaving.card.access(|card, bus| card.raise(bus));
                // Silenced, as a driver does before it disconnects.
                leaving.card.access(|card, bus| card.acknowledge(card.pending, bus));
                leaving.leave(at);
                staying.start(1);
                staying.finish(at);
                staying.leave(at);
            });
        });
    }
}

/// As when another CPU is late with an unmask of its own: the line fires again before the pass has begun.
#[test]
fn two_interrupts_for_one_pass_mask_once() {
    fine("unmasked before the pass", 1, |machine| {
        let card = card_on(machine, GSI);
        machine.main(move |at| {
            let only = AtPassive::new(card);
            let input = Arc::new(LineInput::program(at, GSI, Mode::LevelSensitive, at.cpu(), VECTOR));
            let line = Line::new(at.cpu(), VECTOR, Mode::LevelSensitive, input.clone());
            only.join(at, &line);
            only.expect(1);
            let (gate, high) = (SpinLock::new(()), InterruptLock::<(), Dirql>::new(()));
            // The line's thread has to wait meanwhile.
            gate.with(at, |(), at| {
                only.card.access(|card, bus| card.raise(bus));
                high.synchronize(at, |(), at| {
                    input.unmask(at);
                    assert!(input.mask(at));
                });
            });
            only.finish(at);
            only.start(1);
            only.finish(at);
            only.leave(at);
        });
    });
}

#[test]
fn a_member_that_joins_and_leaves_all_the_time_loses_nothing_of_the_others() {
    for cpus in MACHINES {
        fine("joins and leaves", cpus, move |machine| {
            let cards = (card_on(machine, GSI), card_on(machine, GSI));
            machine.main(move |at| {
                let (staying, other) = (AtDirql::new(cards.0), AtPassive::new(cards.1));
                let line = line(at, Mode::LevelSensitive, cpus as u32 - 1);
                staying.join(at, &line);
                staying.start(3);
                for _ in 0..2 {
                    other.join(at, &line);
                    other.leave(at);
                }
                staying.finish(at);
                staying.leave(at);
            });
        });
    }
}

/// The first is masked while the second has an event.
fn one_masked(cpus: usize, connect: fn(&mut At<'_, Passive>, u32) -> Arc<Line>) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [first, second] = cards.map(AtDirql::new);
            let line = connect(at, cpus as u32 - 1);
            first.join(at, &line);
            second.join(at, &line);
            let masked = first.interrupt.mask(at);
            // An ISR that has started is not waited for, so this is.
            ke::flush_queued_dpcs(at);
            second.expect(1);
            second.card.access(|card, bus| card.raise(bus));
            ke::flush_queued_dpcs(at);
            assert_eq!((first.asked(), second.asked()), (0, 0));
            second.start(1);
            drop(masked);
            second.finish(at);
            first.leave(at);
            second.leave(at);
        });
    }
}

#[test]
fn masking_one_member_masks_the_line_until_it_is_dropped() {
    for cpus in MACHINES {
        fine("one member masked, level", cpus, one_masked(cpus, |at, cpu| line(at, Mode::LevelSensitive, cpu)));
        fine("one member masked, edge", cpus, one_masked(cpus, |at, cpu| line(at, Mode::Latched, cpu)));
    }
}

#[test]
fn what_comes_on_a_masked_line_that_cannot_be_masked_is_delivered_later() {
    for cpus in MACHINES {
        let connect = |at: &mut At<'_, Passive>, cpu| {
            let input = LineInput::program(at, GSI, Mode::Latched, cpu, VECTOR).without_mask();
            Line::new(cpu, VECTOR, Mode::Latched, Arc::new(input))
        };
        fine("one member masked, no mask bit", cpus, one_masked(cpus, connect));
    }
}

#[test]
fn masks_of_two_members_on_two_cpus_end_up_unmasked() {
    for slow in [false, true] {
        fine("masks of two members", 2, move |machine| {
            let cards = (card_on(machine, GSI), card_on(machine, GSI));
            machine.main(move |at| {
                let (first, second) = (AtDirql::new(cards.0), AtPassive::new(cards.1));
                let line = line(at, Mode::LevelSensitive, 0);
                first.join(at, &line);
                if slow {
                    second.join(at, &line);
                    second.start(1);
                }
                first.start(1);
                let interrupt = first.interrupt.clone();
                let other = spawn(at, ThreadOptions::named("masks"), move |at| drop(interrupt.mask(at)));
                drop(first.interrupt.mask(at));
                other.join(at).expect("no device goes away here");
                first.finish(at);
                second.finish(at);
                first.leave(at);
                if slow {
                    second.leave(at);
                }
            });
        });
    }
}

#[test]
fn an_interrupt_that_is_masked_when_it_joins_a_line_is_not_asked() {
    for cpus in MACHINES {
        fine("masked before it joins", cpus, move |machine| {
            let cards = [card_on(machine, GSI), card_on(machine, GSI)];
            machine.main(move |at| {
                let [first, second] = cards.map(AtDirql::new);
                let line = line(at, Mode::LevelSensitive, cpus as u32 - 1);
                first.join(at, &line);
                first.start(2);
                let masked = second.interrupt.mask(at);
                second.join(at, &line);
                // One that came before the line was masked is not waited for.
                ke::flush_queued_dpcs(at);
                assert_eq!(second.asked(), 0);
                drop(masked);
                first.finish(at);
                second.start(1);
                second.finish(at);
                first.leave(at);
                second.leave(at);
            });
        });
    }
}

#[test]
fn a_mask_during_a_refused_connect_leaves_the_line_open() {
    fine("masked while refused", 2, |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [owner, refused] = cards.map(AtDirql::new);
            let line = line(at, Mode::LevelSensitive, 0);
            owner.join(at, &line);
            let interrupt = refused.interrupt.clone();
            let other = spawn(at, ThreadOptions::named("masks"), move |at| drop(interrupt.mask(at)));
            let connected =
                refused.interrupt.connect_line(at, &line, Mode::LevelSensitive, false, refused.seen.clone());
            assert!(connected.is_err());
            other.join(at).expect("no device goes away here");
            owner.start(1);
            owner.finish(at);
            owner.leave(at);
        });
    });
}

/// Two edges for each pass: the pass is asked once for both.
#[test]
fn an_edge_line_that_nobody_claims_is_masked_even_if_its_passes_are_slow() {
    let setup = |machine: &mut Setup| {
        let cards = [card_on(machine, GSI)];
        machine.main(move |at| {
            let [only] = cards.map(AtPassive::new);
            let line = line(at, Mode::Latched, 0);
            only.join(at, &line);
            for _ in 0..STORM {
                // Two before the line's thread comes to run.
                SpinLock::new(()).with(at, |(), _| (0..2).for_each(|_| only.card.access(|card, bus| card.pulse(bus))));
                ke::flush_queued_dpcs(at);
            }
            assert!(line.storm().is_some());
            assert!(line.count() <= 2 * u64::from(STORM), "{line:?} took {}", line.count());
            line.forgive(at);
            only.start(1);
            only.finish(at);
            only.leave(at);
        });
    };
    crate::support::explorer("storm of passes", 1).bound(0).random(3).run(setup);
}

/// A card that has an event again as soon as it is served.
#[test]
fn an_edge_line_whose_members_claim_without_end_is_masked() {
    fn scenario<L: IsrLevel>(at: &mut At<'_, Passive>, card: Device<Card>) {
        let endless = Sharer::<L>::new(card);
        let line = line(at, Mode::Latched, 0);
        endless.join(at, &line);
        endless.card.access(|card, bus| {
            card.again = MOST_PASSES + 10;
            card.raise(bus);
        });
        ke::flush_queued_dpcs(at);
        while line.storm().is_none() {
            assert!(Event::new().wait_timeout(at, 1_000).is_err(), "nobody sets it");
        }
        assert_eq!(endless.asked(), MOST_PASSES);
        endless.leave(at);
    }
    for at_dirql in [true, false] {
        crate::support::explorer("claims without end", 1).bound(1).random(3).run(move |machine| {
            let card = card_on(machine, GSI);
            machine.main(move |at| if at_dirql { scenario::<Dirql>(at, card) } else { scenario::<Passive>(at, card) });
        });
    }
}

#[test]
fn a_passive_member_leaves_while_another_one_sleeps_in_the_pass() {
    for cpus in MACHINES {
        fine("leaves while another sleeps", cpus, |machine| {
            let cards = (card_on(machine, GSI), card_on(machine, GSI));
            machine.main(move |at| {
                let (begun, leaving) = (Arc::new(Event::new()), AtPassive::new(cards.1));
                let asleep = begun.clone();
                let sleep = move |(): &mut (), _, _: &dyn Deferred, at: &mut At<'_, Passive>| {
                    asleep.set(at);
                    assert!(Event::new().wait_timeout(at, 1_000_000).is_err(), "nobody sets it");
                };
                let sleeping = interrupt(&cards.0, &InterruptLock::<(), Passive>::new(()), sleep, nothing);
                let line = line(at, Mode::Latched, 0);
                sleeping.connect_line(at, &line, Mode::Latched, true, ()).expect("it is alone there");
                leaving.join(at, &line);
                cards.0.access(|card, bus| card.raise(bus));
                begun.wait(at).expect("no device goes away here");
                leaving.leave(at);
                assert!(sleeping.disconnect(at).is_some());
            });
        });
    }
}

#[test]
fn an_edge_that_comes_during_a_storm_is_served_when_it_is_forgiven() {
    crate::support::explorer("edge during a storm", 1).bound(1).random(3).run(|machine| {
        let card = card_on(machine, GSI);
        machine.main(move |at| {
            let only = AtDirql::new(card);
            let line = line(at, Mode::Latched, 0);
            only.join(at, &line);
            (0..STORM).for_each(|_| only.card.access(|card, bus| card.pulse(bus)));
            ke::flush_queued_dpcs(at);
            assert!(line.storm().is_some());
            only.expect(1);
            only.card.access(|card, bus| card.raise(bus));
            assert_eq!(only.served(), 0);
            line.forgive(at);
            only.finish(at);
            only.leave(at);
        });
    });
}
