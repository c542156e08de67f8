//! Case 65 beyond lines: an interrupt that is alone on its vector, with and without a mask bit, and a device that can be
//! cut off.

use crate::support::{AtDirql, GSI, VECTOR, card_on, coarse};
use hal_sim::LineInput;
use ke::{At, Connection, Dirql, Mode, Passive, STORM, Source, StormCause};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

/// An input whose device can be kept from using it.
struct Cut {
    input: LineInput,
    cuts: AtomicU32,
}

impl Source for Cut {
    fn mask(&self, at: &mut At<'_, Dirql>) -> bool {
        self.input.mask(at)
    }
    fn unmask(&self, at: &mut At<'_, Dirql>) {
        self.input.unmask(at);
    }
    fn cut_off(&self, _: &mut At<'_, Dirql>) -> bool {
        self.cuts.fetch_add(1, SeqCst);
        true
    }
}

/// The sharer alone on its vector, as a message is.
fn connect(at: &mut At<'_, Passive>, sharer: &AtDirql, can_mask: bool) -> Arc<Cut> {
    let input = LineInput::program(at, GSI, Mode::Latched, 0, VECTOR);
    let input = if can_mask { input } else { input.without_mask() };
    let source = Arc::new(Cut { input, cuts: AtomicU32::new(0) });
    let connection = Connection { cpu: 0, vector: VECTOR, mode: Mode::Latched, source: source.clone() };
    sharer.interrupt.connect(at, connection, sharer.seen.clone()).expect("the vector is free");
    source
}

/// One that is nobody's; it has been dispatched when this returns.
fn nobodys(at: &mut At<'_, Passive>, sharer: &AtDirql) {
    sharer.card.access(|card, bus| card.pulse(bus));
    ke::flush_queued_dpcs(at);
}

#[test]
fn c65_a_lone_interrupt_that_nobody_claims_is_masked_until_it_is_forgiven() {
    for can_mask in [true, false] {
        coarse("c65 alone", 1, move |machine| {
            let card = card_on(machine, GSI);
            machine.main(move |at| {
                let sharer = AtDirql::new(card.clone());
                let source = connect(at, &sharer, can_mask);
                for _ in 0..STORM {
                    assert_eq!(sharer.interrupt.storm(), None);
                    nobodys(at, &sharer);
                }
                assert_eq!(sharer.asked(), STORM);
                // The next one finds the storm noticed.
                nobodys(at, &sharer);
                ke::flush_queued_dpcs(at);
                assert_eq!(sharer.interrupt.storm(), Some(StormCause::NobodyClaims));
                assert_eq!(source.cuts.load(SeqCst), u32::from(!can_mask));
                let info = sharer.interrupt.info(at).expect("it is connected");
                assert_eq!(
                    (info.storm, info.masked, info.unclaimed),
                    (Some(StormCause::NobodyClaims), true, STORM.into())
                );
                nobodys(at, &sharer);
                assert_eq!(sharer.asked(), STORM, "masked");
                // What came meanwhile is delivered.
                sharer.interrupt.forgive(at);
                sharer.start(1);
                sharer.finish(at);
                assert_eq!(sharer.interrupt.storm(), None);
                sharer.leave(at);
            });
        });
    }
}

#[test]
fn c65_a_lone_interrupt_that_is_claimed_now_and_then_is_no_storm() {
    coarse("c65 alone, now and then", 1, |machine| {
        let card = card_on(machine, GSI);
        machine.main(move |at| {
            let sharer = AtDirql::new(card.clone());
            connect(at, &sharer, true);
            for _ in 0..2 {
                for _ in 0..STORM - 1 {
                    nobodys(at, &sharer);
                }
                sharer.start(1);
                sharer.finish(at);
            }
            nobodys(at, &sharer);
            assert_eq!(sharer.interrupt.storm(), None);
            sharer.leave(at);
        });
    });
}

#[test]
fn c65_a_storm_ends_with_the_connection() {
    coarse("c65 reconnected", 1, |machine| {
        let card = card_on(machine, GSI);
        machine.main(move |at| {
            let sharer = AtDirql::new(card.clone());
            connect(at, &sharer, true);
            for _ in 0..=STORM {
                nobodys(at, &sharer);
            }
            assert!(sharer.interrupt.storm().is_some());
            sharer.leave(at);
            connect(at, &sharer, true);
            assert_eq!(sharer.interrupt.storm(), None);
            sharer.start(1);
            sharer.finish(at);
            sharer.leave(at);
        });
    });
}
