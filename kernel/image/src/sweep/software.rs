//! Interrupts without a device: the program raises them itself.

use alloc::{format, string::String, sync::Arc};
use ke::{
    At, ConnectError, Connection, Dirql, Interrupt, InterruptLock, IsrLevel, Mode, Passive, ServiceRoutine, Source,
};

/// A lock whose ceiling is `irql`.
pub fn lock_of_class<T: Default + Send + 'static, L: IsrLevel>(irql: u8) -> Result<InterruptLock<T, L>, String> {
    let lock = InterruptLock::new(T::default());
    lock.settle(irql).map_err(|error| format!("{error}"))?;
    Ok(lock)
}

/// Connects to a free vector of the class `irql` of CPU 0, and gives the vector.
pub fn connect<R: ServiceRoutine<Context = ()>>(
    at: &mut At<'_, Passive>,
    interrupt: &Arc<Interrupt<R>>,
    irql: u8,
) -> Result<u8, String> {
    connect_on(at, interrupt, 0, irql)
}

/// The same on any CPU.
pub fn connect_on<R: ServiceRoutine<Context = ()>>(
    at: &mut At<'_, Passive>,
    interrupt: &Arc<Interrupt<R>>,
    cpu: u32,
    irql: u8,
) -> Result<u8, String> {
    for vector in (irql << 4..=irql << 4 | 0xf).rev() {
        let connection = Connection { cpu, vector, mode: Mode::Latched, source: Arc::new(Unmaskable) };
        match interrupt.connect(at, connection, ()) {
            Ok(()) => return Ok(vector),
            Err(ConnectError::VectorTaken { .. }) => {}
            Err(error) => return Err(format!("{error}")),
        }
    }
    Err(format!("all vectors of class {irql} are taken"))
}

/// A source like edu's message: the core latches what comes while it is masked.
pub struct Unmaskable;

impl Source for Unmaskable {
    fn mask(&self, _: &mut At<'_, Dirql>) -> bool {
        false
    }

    fn unmask(&self, _: &mut At<'_, Dirql>) {}

    fn can_mask(&self) -> bool {
        false
    }
}
