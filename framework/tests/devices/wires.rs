//! The simulated machine's interrupt lines, as firmware and the I/O APIC driver would present them.

use hal_sim::{Device, LineInput, Setup, model::Model};
use io::{Grant, Line, LineController, LineError, LineRouting, LineState, Location, Pin, Polarity, Trigger};
use ke::{At, Dirql, Passive, Source};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Which device's pin leads where.
#[derive(Debug, Clone, Default)]
pub struct Wires(BTreeMap<u8, u32>);

impl Wires {
    /// Leads the pin of `device` to line `gsi`.
    pub fn wire<M: Model>(&mut self, machine: &mut Setup, device: &Device<M>, gsi: u32) {
        machine.wire(device, gsi);
        self.0.insert(device.number(), gsi);
    }

    /// The machine with these lines.
    pub fn platform(self) -> io::Platform {
        hal_sim::platform().with_lines(Arc::new(self)).with_line_controller(Arc::new(Controller::default()))
    }
}

impl LineRouting for Wires {
    fn route(&self, _: &mut At<'_, Passive>, location: Location, _: &[Location], _: Pin) -> Option<Line> {
        let gsi = *self.0.get(&location.device)?;
        Some(Line { gsi, trigger: Trigger::Level, polarity: Polarity::ActiveLow })
    }
}

/// The I/O APIC of the simulated machine, by its inputs.
#[derive(Debug, Default)]
struct Controller(Mutex<BTreeMap<u32, Arc<LineInput>>>);

impl Controller {
    fn input(&self, gsi: u32) -> Option<Arc<LineInput>> {
        self.0.lock().expect("nobody panics with the inputs").get(&gsi).cloned()
    }
}

impl LineController for Controller {
    fn program(&self, at: &mut At<'_, Passive>, line: Line, grant: Grant) -> Result<(), LineError> {
        let input = Arc::new(LineInput::program(at, line.gsi, line.trigger.into(), grant.cpu, grant.vector));
        self.0.lock().expect("nobody panics with the inputs").insert(line.gsi, input);
        Ok(())
    }

    fn set_masked(&self, at: &mut At<'_, Dirql>, gsi: u32, masked: bool) -> bool {
        let Some(input) = self.input(gsi) else { return false };
        match masked {
            true => input.mask(at),
            false => {
                input.unmask(at);
                true
            }
        }
    }

    fn state(&self, gsi: u32) -> Result<LineState, LineError> {
        Err(LineError::NoSuchLine(gsi))
    }
}
