//! A PC's keyboard controller, with a keyboard and a mouse: two interrupt lines and one output buffer.

use super::{BusAccess, IsaDevice, IsaModel, Model, Step};
use io::{Line, Polarity, Trigger};
use std::collections::VecDeque;

const DATA: u16 = 0x60;
const CONTROL: u16 = 0x64;
const KEYBOARD_GSI: u32 = 1;
const MOUSE_GSI: u32 = 12;

/// Ranges of ports, as they are numbered.
const DATA_PORT: usize = 0;

/// Status.
const OUTPUT_FULL: u8 = 0x01;
const INPUT_FULL: u8 = 0x02;
const SELF_TESTED: u8 = 0x04;
const FROM_MOUSE: u8 = 0x20;

/// Configuration: the keyboard's interrupt, the mouse's; the keyboard's clock is stopped, the mouse's.
const INTERRUPT: [u8; 2] = [0x01, 0x02];
const STOPPED: [u8; 2] = [0x10, 0x20];

/// Commands to the controller.
const READ_CONFIGURATION: u8 = 0x20;
const WRITE_CONFIGURATION: u8 = 0x60;
const TO_MOUSE: u8 = 0xd4;

/// Commands to a keyboard or mouse, and their answers.
const REPORT: u8 = 0xf4;
const BE_QUIET: u8 = 0xf5;
const RESET: u8 = 0xff;
const ACKNOWLEDGED: u8 = 0xfa;
const PASSED: u8 = 0xaa;

/// A keyboard or mouse has said what it has to say, and the controller has taken what it was given, by then, in
/// nanoseconds.
const TIME: u64 = 1_000_000;

/// The steps: of the keyboard and of the mouse, a byte comes and something happens; and the controller takes a byte.
const COMES: [u32; 2] = [0, 1];
const HAPPENS: [u32; 2] = [2, 3];
const TAKES: u32 = 4;

/// A model of the 8042 at ports 0x60 and 0x64 and of what is plugged into it. Bytes come out and keys are pressed whenever the
/// explorer wants it. A byte for a controller that has not taken the last one, or a command that the model does not know,
/// fails the run.
#[derive(Debug, Default)]
pub struct I8042 {
    configuration: u8,
    /// The command whose data byte comes next.
    command: Option<u8>,
    /// Written and not taken yet: whether it is a command, and by when it is taken.
    input: Option<(bool, u8, u64)>,
    slow: bool,
    /// The byte that can be read, and whose it is.
    output: Option<(usize, u8)>,
    last: u8,
    devices: [Plugged; 2],
    asserts: [bool; 2],
}

/// A keyboard or mouse.
#[derive(Debug, Default)]
struct Plugged {
    reporting: bool,
    /// Bytes on their way to the controller.
    to_say: VecDeque<u8>,
    said_by: u64,
    /// What will happen to it: the bytes of each event.
    to_come: VecDeque<Vec<u8>>,
}

impl I8042 {
    /// A controller with a keyboard and a mouse that nobody touches.
    pub fn new() -> Self {
        I8042::default()
    }

    /// Lets somebody press keys: the bytes of each, in set 1.
    pub fn types(mut self, keys: &[&[u8]]) -> Self {
        self.devices[0].to_come.extend(keys.iter().map(|key| key.to_vec()));
        self
    }

    /// Lets somebody move the mouse: the three bytes of each movement.
    pub fn moves(mut self, movements: &[[u8; 3]]) -> Self {
        self.devices[1].to_come.extend(movements.iter().map(|movement| movement.to_vec()));
        self
    }

    /// A controller that takes its time over every byte that it is given.
    pub fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    fn is_stopped(&self, device: usize) -> bool {
        self.configuration & STOPPED[device] != 0
    }

    /// A byte that was written is taken.
    fn take(&mut self, is_command: bool, value: u8, bus: &mut BusAccess<'_>) {
        if !is_command {
            return match self.command.take() {
                None => self.tell(0, value, bus),
                Some(TO_MOUSE) => self.tell(1, value, bus),
                Some(_) => self.configuration = value,
            };
        }
        match value {
            READ_CONFIGURATION => self.output = Some((0, self.configuration)),
            WRITE_CONFIGURATION | TO_MOUSE => self.command = Some(value),
            0xad | 0xae => self.set_stopped(0, value == 0xad),
            0xa7 | 0xa8 => self.set_stopped(1, value == 0xa7),
            _ => bus.abort(format!("i8042: command {value:#04x} is none that the model knows")),
        }
    }

    fn set_stopped(&mut self, device: usize, stopped: bool) {
        let bit = STOPPED[device];
        self.configuration = self.configuration & !bit | if stopped { bit } else { 0 };
    }

    /// The keyboard or the mouse gets a byte, and answers.
    fn tell(&mut self, device: usize, value: u8, bus: &mut BusAccess<'_>) {
        let plugged = &mut self.devices[device];
        plugged.said_by = bus.now() + TIME;
        plugged.to_say.push_back(ACKNOWLEDGED);
        match value {
            REPORT => plugged.reporting = true,
            BE_QUIET => plugged.reporting = false,
            RESET => {
                plugged.reporting = false;
                plugged.to_say.push_back(PASSED);
            }
            _ => {}
        }
    }

    /// The interrupt lines follow the output buffer.
    fn settle(&mut self, bus: &mut BusAccess<'_>) {
        for device in [0, 1] {
            let asserts = self.has_cause(device);
            if asserts != self.asserts[device] {
                self.asserts[device] = asserts;
                bus.set_line_of(device, asserts);
            }
        }
    }

    fn has_cause(&self, device: usize) -> bool {
        self.output.is_some_and(|(whose, _)| whose == device) && self.configuration & INTERRUPT[device] != 0
    }

    fn status(&self) -> u8 {
        let output = match self.output {
            None => 0,
            Some((0, _)) => OUTPUT_FULL,
            Some(_) => OUTPUT_FULL | FROM_MOUSE,
        };
        SELF_TESTED | output | if self.input.is_some() { INPUT_FULL } else { 0 }
    }
}

impl IsaModel for I8042 {
    fn devices(&self) -> Vec<IsaDevice> {
        let line = |gsi| Line { gsi, trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
        let ports = vec![DATA..DATA + 1, CONTROL..CONTROL + 1];
        let keyboard = IsaDevice { hid: "PNP0303", ports, lines: vec![line(KEYBOARD_GSI)] };
        vec![keyboard, IsaDevice { hid: "PNP0F13", ports: Vec::new(), lines: vec![line(MOUSE_GSI)] }]
    }
}

impl Model for I8042 {
    fn read(&mut self, range: usize, _: u64, _: usize, bus: &mut BusAccess<'_>) -> u64 {
        if range != DATA_PORT {
            return self.status().into();
        }
        if let Some((_, byte)) = self.output.take() {
            self.last = byte;
            self.settle(bus);
        }
        self.last.into()
    }

    fn write(&mut self, range: usize, _: u64, _: usize, value: u64, bus: &mut BusAccess<'_>) {
        let (is_command, value) = (range != DATA_PORT, value as u8);
        if self.input.is_some() {
            return bus.abort(format!("i8042: byte {value:#04x} is written while the last one is not taken"));
        }
        if self.slow {
            self.input = Some((is_command, value, bus.now() + TIME));
        } else {
            self.take(is_command, value, bus);
        }
        self.settle(bus);
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        if let Some((_, _, by)) = self.input {
            steps.push(Step::before(TAKES, "the controller takes a byte", by));
        }
        for (device, plugged) in self.devices.iter().enumerate().filter(|(device, _)| !self.is_stopped(*device)) {
            if self.output.is_none() && !plugged.to_say.is_empty() {
                let what = ["a byte of the keyboard comes", "a byte of the mouse comes"][device];
                steps.push(Step::before(COMES[device], what, plugged.said_by));
            }
            if plugged.reporting && !plugged.to_come.is_empty() {
                steps.push(Step::soon(HAPPENS[device], ["a key is pressed", "the mouse is moved"][device]));
            }
        }
    }

    fn step(&mut self, id: u32, bus: &mut BusAccess<'_>) {
        if let Some(device) = COMES.iter().position(|comes| *comes == id) {
            self.output = self.devices[device].to_say.pop_front().map(|byte| (device, byte));
            self.devices[device].said_by = bus.now() + TIME;
        } else if let Some(device) = HAPPENS.iter().position(|happens| *happens == id) {
            let plugged = &mut self.devices[device];
            plugged.said_by = bus.now() + TIME;
            plugged.to_say.extend(plugged.to_come.pop_front().into_iter().flatten());
        } else if let Some((is_command, value, _)) = self.input.take() {
            self.take(is_command, value, bus);
        }
        self.settle(bus);
    }

    fn interrupt_status(&self) -> u64 {
        (0..2).filter(|device| self.has_cause(*device)).map(|device| u64::from(INTERRUPT[device])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bench::Bench;

    const DATA: usize = 0;
    const CONTROL: usize = 1;

    fn write(bench: &mut Bench<I8042>, range: usize, value: u64) {
        bench.access(|model, bus| model.write(range, 0, 1, value, bus));
    }

    fn status(bench: &mut Bench<I8042>) -> u64 {
        bench.access(|model, bus| model.read(CONTROL, 0, 1, bus))
    }

    /// Both ports on, both devices reporting, their answers read; now somebody touches them.
    fn on(touch: impl FnOnce(I8042) -> I8042) -> Bench<I8042> {
        let mut bench = Bench::new(I8042::new(), None);
        for (range, value) in [(CONTROL, 0x60), (DATA, 0x47), (DATA, 0xf4), (CONTROL, 0xd4), (DATA, 0xf4)] {
            write(&mut bench, range, value);
        }
        for from in [0x00, 0x20] {
            bench.step().expect("both answer");
            assert_eq!((status(&mut bench), bench.read(0, 1)), (0x05 | from, 0xfa));
        }
        bench.lines.clear();
        bench.model = touch(bench.model);
        bench
    }

    #[test]
    fn a_byte_raises_the_line_of_whose_it_is() {
        let mut bench = on(|model| model.types(&[&[0x1e]]).moves(&[[8, 1, 2]]));
        assert_eq!((bench.step(), bench.step()), (Some("a key is pressed"), Some("a byte of the keyboard comes")));
        assert_eq!((bench.read(0, 1), status(&mut bench)), (0x1e, 0x04));
        (0..2).for_each(|_| _ = bench.step());
        assert_eq!(bench.read(0, 1), 8);
        assert_eq!(bench.lines, [(0, true), (0, false), (1, true), (1, false)]);
    }

    #[test]
    fn who_is_cut_off_says_nothing() {
        let mut bench = on(|model| model.types(&[&[0x1e]]));
        write(&mut bench, CONTROL, 0xad);
        assert_eq!(bench.step(), None);
        write(&mut bench, CONTROL, 0xae);
        assert_eq!(bench.step(), Some("a key is pressed"));
    }

    #[test]
    fn what_comes_too_fast_for_a_slow_controller_is_told() {
        let mut bench = Bench::new(I8042::new().slow(), None);
        write(&mut bench, CONTROL, 0x60);
        assert_eq!(status(&mut bench), 0x06);
        write(&mut bench, DATA, 0x47);
        assert!(bench.fault.take().is_some_and(|fault| fault.contains("not taken")));
        bench.step();
        assert_eq!(status(&mut bench), 0x04);
        write(&mut bench, CONTROL, 0x99);
        bench.step();
        assert!(bench.fault.is_some_and(|fault| fault.contains("command 0x99")));
    }
}
