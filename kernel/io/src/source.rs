//! Where a message-signaled interrupt comes from: programmed here, masked and unmasked by the core.
//!
//! A function's messages are programmed all together before the first is connected, and left masked; a function without
//! mask bits is simply on, and what it sends before its interrupt is connected is counted as unexpected. After the last
//! is disconnected they are switched off together.

use crate::{Error, Messages, Msi, MsiX, PciDevice, mapping::Mapped};
use alloc::{sync::Arc, vec::Vec};
use core::{fmt, sync::atomic::AtomicU32};
use ke::{At, Dirql, Mmio, Passive, Source, hal::MsiMessage};

/// One message of a function.
pub struct MessageSource {
    device: Arc<PciDevice>,
    message: u16,
    mask: Mask,
}

/// What masks the message.
enum Mask {
    /// The mask bits of MSI, if the function has any, and what they should be.
    Msi(Msi, Arc<AtomicU32>),
    /// The MSI-X table.
    MsiX(MsiX, Arc<Mmio>),
}

impl PciDevice {
    /// Programs `messages`, from message 0 on, and switches them on, masked where the function can mask, its line
    /// disabled. `None` for those that nobody will use. For MSI all are of one block: the same address, consecutive data.
    /// PASSIVE.
    pub fn program_messages(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        messages: &[Option<MsiMessage>],
    ) -> Result<Vec<MessageSource>, Error> {
        let location = self.location();
        let kind = self.messages().ok_or(Error::NoMessages(location))?;
        let used = messages.len() as u16;
        if used > kind.count() {
            return Err(Error::NoSuchMessage { location, message: used - 1, available: kind.count() });
        }
        let source = |message, mask| MessageSource { device: self.clone(), message, mask };
        match kind {
            Messages::Msi(msi) => {
                let first = messages.first().copied().flatten().ok_or(Error::NoMessages(location))?;
                let mut function = self.function(at);
                msi.program(&mut function, first, used.next_power_of_two())?;
                msi.set_enabled(&mut function, true)?;
                let mask = Arc::new(AtomicU32::new(u32::MAX));
                Ok((0..used).map(|n| source(n, Mask::Msi(msi, mask.clone()))).collect())
            }
            Messages::MsiX(msix) => {
                let table = Arc::new(self.map_table(at, &msix)?);
                msix.enable_masked(&mut self.function(at))?;
                msix.mask_all(&mut Mapped::new(&table, 0, at)).map_err(|message| Error::MaskNotTaken {
                    location,
                    message,
                    masked: true,
                })?;
                for (n, message) in messages.iter().enumerate() {
                    if let Some(message) = message {
                        msix.program(&mut Mapped::new(&table, 0, at), n as u16, *message);
                    }
                }
                msix.unmask_function(&mut self.function(at))?;
                Ok((0..used).map(|n| source(n, Mask::MsiX(msix, table.clone()))).collect())
            }
        }
    }

    /// Switches all messages off. A function that is gone has none: that is no error. PASSIVE.
    pub fn disable_messages(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        let mut function = self.function(at);
        let result = match self.messages() {
            Some(Messages::Msi(msi)) => msi.set_enabled(&mut function, false),
            Some(Messages::MsiX(msix)) => msix.disable(&mut function),
            None => Ok(()),
        };
        match result {
            Err(Error::Gone(_)) => Ok(()),
            other => other,
        }
    }

    fn map_table(&self, at: &mut At<'_, Passive>, msix: &MsiX) -> Result<Mmio, Error> {
        let table = msix.table();
        let part = self.map_bar(at, msix.bar())?.part(table.start as usize, (table.end - table.start) as usize);
        part.map_err(|_| Error::BadTable(self.location()))
    }
}

impl MessageSource {
    /// `false`: the function cannot mask, or the bit did not take because it is stuck or the function is gone.
    fn set_masked(&self, at: &mut At<'_, Dirql>, masked: bool) -> bool {
        match &self.mask {
            Mask::Msi(msi, wanted) => {
                let registers = &mut self.device.function(at).registers;
                msi.set_masked(registers, wanted, self.message, masked).unwrap_or(false)
            }
            Mask::MsiX(msix, table) => msix.set_masked(&mut Mapped::new(table, 0, at), self.message, masked),
        }
    }
}

impl Source for MessageSource {
    fn mask(&self, at: &mut At<'_, Dirql>) -> bool {
        self.set_masked(at, true)
    }

    fn unmask(&self, at: &mut At<'_, Dirql>) {
        // It does not take where `mask` did not either: there is nothing to undo then.
        let _taken = self.set_masked(at, false);
    }
}

impl fmt::Debug for MessageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of {}", self.message, self.device.location())
    }
}
