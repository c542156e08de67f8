//! What programs ask of an edu device that they have opened.

use crate::{
    RAISED, USABLE_BUFFER,
    control::{Counters, code},
    error::EduError,
};
use alloc::{vec, vec::Vec};
use framework::{File, prelude::*};

/// An edu device, opened by its name. Any number of threads may ask at once: the device serves one after another.
///
/// ```
/// use edu::{EduError, EduFile};
/// use framework::{Pnp, prelude::*};
/// fn twelve_factorial(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<u32, EduError> {
///     EduFile::open(pnp, "edu#0")?.factorial(at, 12)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct EduFile(File);

impl EduFile {
    /// Opens the device of this name.
    pub fn open(pnp: &framework::Pnp, name: &str) -> Result<Self, EduError> {
        Ok(EduFile(pnp.open(name)?))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The file, for requests that are not waited for.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// `n`!, modulo 2^32. PASSIVE.
    pub fn factorial(&self, at: &mut At<'_, Passive>, n: u32) -> Result<u32, EduError> {
        self.ask(at, code::FACTORIAL, n)
    }

    /// Makes the device interrupt with `bits` of 0xfe, and waits until that was served. PASSIVE. Returns the bits.
    pub fn raise(&self, at: &mut At<'_, Passive>, bits: u32) -> Result<u32, EduError> {
        if bits == 0 || bits & !RAISED != 0 {
            return Err(EduError::NotRaisable { bits });
        }
        self.ask(at, code::RAISE, bits)
    }

    /// Writes `len` bytes to the device's buffer, different ones for every `salt`, reads them back and compares. PASSIVE. Others
    /// who write meanwhile make a difference.
    pub fn round_trip(&self, at: &mut At<'_, Passive>, len: usize, salt: u8) -> Result<(), EduError> {
        if len == 0 || len > USABLE_BUFFER {
            return Err(EduError::OutOfBuffer { len });
        }
        let sent: Vec<u8> = (0..len).map(|n| (7 * n) as u8 ^ salt).collect();
        let mut received = vec![0; len];
        self.0.write(at, &sent)?;
        self.0.read(at, &mut received)?;
        match (0..len).find(|&n| sent[n] != received[n]) {
            Some(n) => Err(EduError::Different { at: n, sent: sent[n], received: received[n] }),
            None => Ok(()),
        }
    }

    /// What the driver knows about its interrupts. PASSIVE.
    pub fn counters(&self, at: &mut At<'_, Passive>) -> Result<Counters, EduError> {
        let mut bytes = [0; Counters::BYTES];
        self.0.control(at, code::COUNTERS, &[], &mut bytes)?;
        Ok(Counters::from_bytes(bytes))
    }

    fn ask(&self, at: &mut At<'_, Passive>, code: u32, n: u32) -> Result<u32, EduError> {
        let mut answer = [0; 4];
        self.0.control(at, code, &n.to_le_bytes(), &mut answer)?;
        Ok(u32::from_le_bytes(answer))
    }
}
