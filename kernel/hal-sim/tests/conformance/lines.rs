//! Cases 61 to 65: vectors that several interrupts share.

use crate::support::{AtDirql, GSI, MACHINES, Serving, VECTOR, card_on, coarse, fine, line};
use ke::{ConnectError, Connection, Dirql, Mode, STORM, Source};
use std::sync::Arc;

#[test]
fn c61_a_level_chain_stops_at_the_first_claim() {
    for cpus in MACHINES {
        coarse("c61 level chain", cpus, move |machine| {
            let cards = [card_on(machine, GSI), card_on(machine, GSI)];
            machine.main(move |at| {
                let [first, second] = cards.map(AtDirql::new);
                let line = line(at, Mode::LevelSensitive, cpus as u32 - 1);
                first.join(at, &line);
                second.join(at, &line);
                first.start(1);
                first.finish(at);
                assert_eq!((first.asked(), second.asked(), line.unclaimed()), (1, 0, 0));
                second.start(1);
                second.finish(at);
                assert_eq!((first.asked(), second.asked(), line.unclaimed()), (2, 1, 0));
                // Nobody says that it was his: both are asked and it is counted.
                first.card.access(|card, bus| {
                    card.stick(true, bus);
                    card.stick(false, bus);
                });
                ke::flush_queued_dpcs(at);
                first.leave(at);
                second.leave(at);
                assert_eq!((first.asked(), second.asked(), line.unclaimed()), (3, 2, 1));
            });
        });
    }
}

#[test]
fn c63_a_line_is_not_shared_unless_all_agree_on_it_and_on_the_mode() {
    for cpus in MACHINES {
        coarse("c63 not shared", cpus, move |machine| {
            let cards = [card_on(machine, GSI), card_on(machine, GSI), card_on(machine, GSI)];
            machine.main(move |at| {
                let [first, second, third] = cards.map(AtDirql::new);
                let line = line(at, Mode::LevelSensitive, 0);
                first.start(2);
                first.join(at, &line);
                let connect = |at: &mut _, sharer: &AtDirql, mode, share| {
                    sharer.interrupt.connect_line(at, &line, mode, share, sharer.seen.clone())
                };
                let refused = ConnectError::NotShared { cpu: 0, vector: VECTOR };
                assert_eq!(connect(at, &second, Mode::LevelSensitive, false), Err(refused));
                let refused_mode = ConnectError::OtherMode { line: Mode::LevelSensitive };
                assert_eq!(connect(at, &second, Mode::Latched, true), Err(refused_mode));
                assert!(!second.interrupt.is_connected());
                first.finish(at);
                first.leave(at);
                connect(at, &third, Mode::LevelSensitive, false).expect("it is alone there");
                assert_eq!(connect(at, &second, Mode::LevelSensitive, true), Err(refused));
                third.start(1);
                third.finish(at);
                third.leave(at);
                assert_eq!(second.asked(), 0);
            });
        });
    }
}

#[test]
fn c63_a_line_does_not_take_the_vector_of_a_lone_owner() {
    struct Nothing;
    impl Source for Nothing {
        fn mask(&self, _: &mut ke::At<'_, Dirql>) -> bool {
            true
        }
        fn unmask(&self, _: &mut ke::At<'_, Dirql>) {}
    }
    coarse("c63 taken", 1, |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI)];
        machine.main(move |at| {
            let [alone, other] = cards.map(AtDirql::new);
            let connection = Connection { cpu: 0, vector: VECTOR, mode: Mode::Latched, source: Arc::new(Nothing) };
            alone.interrupt.connect(at, connection, alone.seen.clone()).expect("the vector is free");
            let line = line(at, Mode::LevelSensitive, 0);
            let refused = other.interrupt.connect_line(at, &line, Mode::LevelSensitive, true, other.seen.clone());
            assert_eq!(refused, Err(ConnectError::VectorTaken { cpu: 0, vector: VECTOR }));
            alone.leave(at);
            other.join(at, &line);
            other.leave(at);
        });
    });
}

#[test]
fn c65_a_line_that_nobody_claims_is_masked_and_its_sharers_are_named() {
    let scenario = |cpus: usize| {
        move |machine: &mut hal_sim::Setup| {
            let cards = [card_on(machine, GSI), card_on(machine, GSI)];
            machine.main(move |at| {
                let [first, second] = cards.map(AtDirql::new);
                let line = line(at, Mode::LevelSensitive, cpus as u32 - 1);
                first.join(at, &line);
                second.join(at, &line);
                second.card.access(|card, bus| card.stick(true, bus));
                ke::flush_queued_dpcs(at);
                assert!(line.storm().is_some());
                assert_eq!((line.count(), line.unclaimed()), (STORM.into(), STORM.into()));
                assert_eq!((first.asked(), second.asked()), (STORM, STORM));
                // Masked, whatever else comes; and the system lives.
                first.start(1);
                ke::flush_queued_dpcs(at);
                assert_eq!(line.count(), STORM.into());
                second.card.access(|card, bus| card.stick(false, bus));
                line.forgive(at);
                first.finish(at);
                assert!(line.storm().is_none());
                first.leave(at);
                second.leave(at);
            });
        }
    };
    for cpus in MACHINES {
        fine_enough("c65 storm", cpus, scenario(cpus));
        let trace = hal_sim::Explorer::new("c65 storm").cpus(cpus).record(scenario(cpus));
        let said = format!("vector {VECTOR:#x} of CPU {} is masked because nobody claims", cpus - 1);
        let printed =
            |text: &str| trace.lines().iter().any(|line| line.what.starts_with("prints") && line.what.contains(text));
        assert!(printed(&said) && printed(std::any::type_name::<Serving<Dirql>>()), "{trace}");
    }
}

/// A storm is so long that one deviation is all there is time for.
fn fine_enough(name: &str, cpus: usize, setup: impl Fn(&mut hal_sim::Setup) + 'static) {
    crate::support::explorer(name, cpus).bound(1).random(10).run(setup);
}

#[test]
fn c65_interrupts_that_are_claimed_now_and_then_are_no_storm() {
    fine("c65 claimed between", 1, |machine| {
        let cards = [card_on(machine, GSI)];
        machine.main(move |at| {
            let [only] = cards.map(AtDirql::new);
            let line = line(at, Mode::Latched, 0);
            only.join(at, &line);
            for _ in 0..2 {
                (0..3).for_each(|_| only.card.access(|card, bus| card.pulse(bus)));
                only.start(1);
                only.finish(at);
            }
            assert_eq!((line.unclaimed(), line.storm().is_some()), (6, false));
            only.leave(at);
        });
    });
}
