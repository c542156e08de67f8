//! What the two ISRs do with the one buffer, on a controller of the test's own; and what the bytes mean.

use i8042::{
    decode::{Key, Keys, Movement, Movements},
    input::{ACKNOWLEDGED, Chip, FROM_MOUSE, Input, OUTPUT_FULL, Port},
    queue::Queue,
};
use std::collections::VecDeque;

/// A controller with bytes that wait to be read.
struct Fake(VecDeque<(Port, u8)>);

impl Fake {
    fn with<const N: usize>(bytes: [(Port, u8); N]) -> Self {
        Fake(bytes.into())
    }
}

impl Chip for Fake {
    fn status(&mut self) -> u8 {
        match self.0.front() {
            None => 0,
            Some((Port::Keyboard, _)) => OUTPUT_FULL,
            Some((Port::Mouse, _)) => OUTPUT_FULL | FROM_MOUSE,
        }
    }

    fn read(&mut self) -> u8 {
        self.0.pop_front().expect("the driver reads what is there").1
    }
}

#[test]
fn each_isr_takes_its_own_bytes_and_leaves_the_others() {
    let mut chip = Fake::with([(Port::Keyboard, 0x1e), (Port::Mouse, 0x08), (Port::Mouse, 5), (Port::Mouse, 3)]);
    let mut input = Input::default();
    assert!(!input.collect(&mut chip, Port::Mouse), "the buffer holds a key");
    assert!(input.collect(&mut chip, Port::Keyboard));
    assert!(!input.collect(&mut chip, Port::Keyboard));
    assert!(input.collect(&mut chip, Port::Mouse));
    assert!(!input.collect(&mut chip, Port::Mouse));
    assert_eq!(input.keys.pop(), Some(Key { code: 0x1e, down: true }));
    assert_eq!(input.movements.pop(), Some(Movement { right: 5, up: 3, buttons: 0 }));
    assert_eq!((input.bytes(Port::Keyboard), input.bytes(Port::Mouse)), (1, 3));
}

#[test]
fn an_answer_is_not_a_key() {
    let mut chip = Fake::with([(Port::Mouse, 0x08), (Port::Keyboard, 0xfa), (Port::Keyboard, 0x9e)]);
    let mut input = Input::default();
    input.ask(Port::Keyboard);
    input.collect(&mut chip, Port::Mouse);
    assert_eq!(input.answer(), None, "that byte was the mouse's");
    input.collect(&mut chip, Port::Keyboard);
    assert_eq!((input.answer(), input.answer()), (Some(0xfa), None));
    assert_eq!((input.keys.pop(), input.keys.pop()), (Some(Key { code: 0x1e, down: false }), None));
}

#[test]
fn what_was_on_its_way_when_it_was_asked_is_no_answer() {
    let mut chip = Fake::with([(Port::Mouse, 0x08), (Port::Mouse, 5), (Port::Mouse, 3), (Port::Mouse, ACKNOWLEDGED)]);
    let mut input = Input::default();
    input.ask(Port::Mouse);
    input.collect(&mut chip, Port::Mouse);
    assert_eq!(input.answer(), Some(ACKNOWLEDGED));
    assert_eq!(input.movements.pop(), Some(Movement { right: 5, up: 3, buttons: 0 }));
}

#[test]
fn old_bytes_are_forgotten_but_not_those_of_a_port_that_is_on() {
    let mut chip = Fake::with([(Port::Mouse, 7), (Port::Keyboard, 0x1e)]);
    let mut input = Input::default();
    input.configure(Port::Keyboard, true);
    input.discard(&mut chip);
    assert!(input.collect(&mut chip, Port::Keyboard));
    assert_eq!((input.bytes(Port::Mouse), input.keys.pop()), (0, Some(Key { code: 0x1e, down: true })));
}

#[test]
fn the_configuration_cuts_off_who_is_not_started() {
    let mut input = Input::default();
    assert_eq!(input.configure(Port::Keyboard, false), 0x74);
    assert_eq!(input.configure(Port::Keyboard, true), 0x65);
    assert_eq!(input.configure(Port::Mouse, true), 0x47);
    assert_eq!(input.configure(Port::Keyboard, false), 0x56);
}

#[test]
fn a_buffer_that_is_stuck_does_not_hold_the_isr() {
    struct Stuck;
    impl Chip for Stuck {
        fn status(&mut self) -> u8 {
            OUTPUT_FULL
        }
        fn read(&mut self) -> u8 {
            0x1e
        }
    }
    assert!(Input::default().collect(&mut Stuck, Port::Keyboard));
}

#[test]
fn keys_with_a_prefix_are_other_keys() {
    let mut keys = Keys::default();
    assert_eq!(keys.byte(0x1c), Some(Key { code: 0x1c, down: true }));
    assert_eq!(keys.byte(0xe0), None);
    assert_eq!(keys.byte(0x9c), Some(Key { code: 0xe01c, down: false }));
    assert_eq!(keys.byte(0x9c), Some(Key { code: 0x1c, down: false }));
}

#[test]
fn movements_are_signed_and_find_their_first_byte_again() {
    let mut movements = Movements::default();
    let mut feed = |bytes: &[u8]| bytes.iter().filter_map(|byte| movements.byte(*byte)).collect::<Vec<_>>();
    assert_eq!(feed(&[0x39, 0xff, 0x80]), [Movement { right: -1, up: -128, buttons: 1 }]);
    assert_eq!(feed(&[0x00, 0x07, 0x0a, 2, 3]), [Movement { right: 2, up: 3, buttons: 2 }]);
    assert_eq!(feed(&[0x4c, 200, 3]), [Movement { right: 0, up: 0, buttons: 4 }]);
}

#[test]
fn what_nobody_reads_is_counted() {
    let mut queue = Queue::<u8, 2>::default();
    (0..5).for_each(|n| queue.push(n));
    assert_eq!((queue.pop(), queue.pop(), queue.pop(), queue.dropped()), (Some(0), Some(1), None, 3));
    queue.push(7);
    assert_eq!(queue.pop(), Some(7));
}
