//! Where a message-signaled interrupt comes from, for whoever connects it: programmed, masked, unmasked.
//!
//! Messages are programmed all together, before the first is connected, and left masked; a function without mask bits
//! is simply on. After the last one is disconnected they are switched off together.

use crate::{Error, Messages, Msi, MsiX, PciDevice, mapping::Mapped};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::AtomicU32;
use ke::{At, Level, Mmio, Passive, hal::MsiMessage};

/// One message of a function.
#[derive(Debug)]
pub struct MessageSource {
    device: Arc<PciDevice>,
    message: u16,
    mask: Mask,
}

/// What masks the message.
#[derive(Debug)]
enum Mask {
    /// The mask bits of MSI, if the function has any: what they should hold.
    Msi(Msi, Arc<AtomicU32>),
    /// The MSI-X table.
    MsiX(MsiX, Arc<Mmio>),
}

impl PciDevice {
    /// Programs `messages`, from message 0 on, and switches them on, masked where the function can mask. For MSI the
    /// messages are those of one block: consecutive data, the same address. PASSIVE.
    pub fn program_messages(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        messages: &[MsiMessage],
    ) -> Result<Vec<MessageSource>, Error> {
        let location = self.location();
        let wanted = messages.len() as u16;
        let (Some(kind), Some(first)) = (self.messages(), messages.first()) else {
            return Err(Error::NoMessages(location));
        };
        if wanted > kind.count() {
            return Err(Error::NoSuchMessage { location, message: wanted - 1, available: kind.count() });
        }
        let source = |message, mask| MessageSource { device: self.clone(), message, mask };
        match kind {
            Messages::Msi(msi) => {
                let mut function = self.function(at);
                msi.program(&mut function, *first, wanted.next_power_of_two())?;
                msi.set_enabled(&mut function, true)?;
                let mask = Arc::new(AtomicU32::new(u32::MAX));
                Ok((0..wanted).map(|n| source(n, Mask::Msi(msi, mask.clone()))).collect())
            }
            Messages::MsiX(msix) => {
                let table = Arc::new(self.map_table(at, &msix)?);
                msix.enable_masked(&mut self.function(at))?;
                msix.mask_all(&mut Mapped::new(&table, 0, at)).map_err(|message| Error::MaskNotTaken {
                    location,
                    message,
                    masked: true,
                })?;
                msix.unmask_function(&mut self.function(at))?;
                for (n, message) in messages.iter().enumerate() {
                    msix.program(&mut Mapped::new(&table, 0, at), n as u16, *message);
                }
                Ok((0..wanted).map(|n| source(n, Mask::MsiX(msix, table.clone()))).collect())
            }
        }
    }
}

impl PciDevice {
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
    /// The message's number.
    pub fn message(&self) -> u16 {
        self.message
    }

    /// Whether the function has a mask bit for the message.
    pub fn is_maskable(&self) -> bool {
        match &self.mask {
            Mask::Msi(msi, _) => msi.is_maskable(),
            Mask::MsiX(..) => true,
        }
    }

    /// Masks or unmasks the message and reads that back: a message that was on its way has then arrived. `Ok(false)`:
    /// the function cannot mask, so the caller must latch. Any IRQL.
    pub fn set_masked<L: Level>(&self, at: &mut At<'_, L>, masked: bool) -> Result<bool, Error> {
        let location = self.device.location();
        let taken = match &self.mask {
            Mask::Msi(msi, wanted) => {
                msi.set_masked(&mut self.device.function(at).registers, wanted, self.message, masked)
            }
            Mask::MsiX(msix, table) => Some(msix.set_masked(&mut Mapped::new(table, 0, at), self.message, masked)),
        };
        match taken {
            None => Ok(false),
            Some(true) => Ok(true),
            Some(false) if !self.device.is_present(at) => Err(Error::Gone(location)),
            Some(false) => Err(Error::MaskNotTaken { location, message: self.message, masked }),
        }
    }
}
