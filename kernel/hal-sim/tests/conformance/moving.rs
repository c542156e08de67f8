//! A line that moves to another CPU with all its members while their devices go on: every event is served, each once.

use crate::support::{AtDirql, AtPassive, GSI, Sharer, VECTOR, card_on, coarse, fine, line};
use hal_sim::{LineInput, Setup};
use ke::{At, ConnectError, Dirql, InterruptLock, IsrLevel, Line, Mode, Passive};
use std::sync::Arc;

const NEW: u8 = VECTOR + 1;

fn move_to(at: &mut At<'_, Passive>, line: &Line, cpu: u32, vector: u8) -> Result<(), ConnectError> {
    line.move_to(at, cpu, vector, |at| {
        // Programmed anew, masked; the line's own input stays the one that it masks and unmasks.
        LineInput::program(at, GSI, line.mode(), cpu, vector);
        true
    })
}

fn a_line_moves<A: IsrLevel, B: IsrLevel>(name: &str, mode: Mode, events: u32) {
    let scenario = move |machine: &mut Setup| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [one, other] = cards;
            let (one, other) = (Sharer::<A>::new(one), Sharer::<B>::new(other));
            let line = line(at, mode, 0);
            one.join(at, &line);
            other.join(at, &line);
            one.start(events);
            other.start(events);
            move_to(at, &line, 1, NEW).expect("the vector is free");
            assert_eq!((line.cpu(), line.vector()), (1, NEW));
            let info = one.interrupt.info(at).expect("it is connected");
            assert_eq!((info.cpu, info.vector), (1, NEW));
            let before = info.counts[0];
            one.start(1);
            one.finish(at);
            other.finish(at);
            let info = one.interrupt.info(at).expect("it is connected");
            assert_eq!(info.counts[0], before, "nothing comes on the old CPU any more");
            assert!(info.counts[1] > 0);
            assert_eq!(at.unexpected_interrupts(0), Some(0), "the old vector was emptied when nothing was on its way");
            one.leave(at);
            other.leave(at);
        });
    };
    coarse(name, 2, scenario);
    fine(name, 2, scenario);
}

#[test]
fn a_level_line_moves_with_its_members() {
    a_line_moves::<Dirql, Dirql>("level line moves", Mode::LevelSensitive, 2);
}

#[test]
fn an_edge_line_moves_with_its_members() {
    a_line_moves::<Dirql, Dirql>("edge line moves", Mode::Latched, 2);
}

#[test]
fn a_line_with_a_member_at_passive_moves() {
    for mode in [Mode::LevelSensitive, Mode::Latched] {
        a_line_moves::<Dirql, Passive>("line with a pass moves", mode, 1);
    }
}

#[test]
fn a_line_moves_while_a_member_is_masked() {
    for mode in [Mode::LevelSensitive, Mode::Latched] {
        coarse("masked line moves", 2, move |machine| {
            let card = card_on(machine, GSI);
            machine.main(move |at| {
                let sharer = AtDirql::new(card.clone());
                let line = line(at, mode, 0);
                sharer.join(at, &line);
                let masked = sharer.interrupt.mask(at);
                sharer.start(1);
                move_to(at, &line, 1, NEW).expect("the vector is free");
                assert_eq!(sharer.served(), 0);
                masked.unmask(at);
                sharer.finish(at);
                sharer.leave(at);
            });
        });
    }
}

#[test]
fn a_line_that_cannot_move_stays_as_it_is() {
    coarse("refused moves of a line", 2, |machine| {
        let (card, taker) = (card_on(machine, GSI), card_on(machine, GSI + 1));
        machine.main(move |at| {
            let lock = InterruptLock::new(0);
            lock.settle(12).expect("nobody has settled it");
            let sharer = AtDirql::with(card.clone(), lock);
            let line = line(at, Mode::LevelSensitive, 0);
            assert_eq!(move_to(at, &line, 1, NEW), Err(ConnectError::NotConnected));
            sharer.join(at, &line);
            sharer.start(1);
            assert_eq!(move_to(at, &line, 2, NEW), Err(ConnectError::NoSuchCpu { cpu: 2, cpus: 2 }));
            let other_class = Err(ConnectError::OtherClass { irql: VECTOR >> 4, vector: 0x61 });
            assert_eq!(move_to(at, &line, 1, 0x61), other_class);
            let taker = AtPassive::new(taker.clone());
            let taken = crate::support::line_at(at, GSI + 1, Mode::LevelSensitive, 1, NEW);
            taker.join(at, &taken);
            assert_eq!(move_to(at, &line, 1, NEW), Err(ConnectError::VectorTaken { cpu: 1, vector: NEW }));
            let refused = line.move_to(at, 1, NEW + 1, |_| false);
            assert_eq!(refused, Err(ConnectError::Refused { cpu: 1, vector: NEW + 1 }));
            assert_eq!((line.cpu(), line.vector()), (0, VECTOR));
            sharer.start(1);
            sharer.finish(at);
            sharer.leave(at);
            taker.leave(at);
            // What was refused is not held either.
            let again: Arc<Line> = crate::support::line_at(at, GSI, Mode::LevelSensitive, 1, NEW + 1);
            sharer.join(at, &again);
            sharer.leave(at);
        });
    });
}
