//! Where a message-signaled interrupt comes from: programmed here, masked and unmasked by the core.
//!
//! A function's messages are programmed all together before the first is connected, and left off or masked. MSI is
//! switched on with the first interrupt that is connected and off with the last, so a function without mask bits sends
//! nothing that nobody would take.

use crate::{Error, Messages, Msi, MsiX, PciDevice, config::Command, mapping::Mapped};
use alloc::{sync::Arc, vec::Vec};
use core::{fmt, sync::atomic::AtomicU32};
use ke::{At, Dirql, Mmio, Passive, Source, WaitLock, hal::MsiMessage};

/// One message of a function.
pub struct MessageSource {
    device: Arc<PciDevice>,
    message: u16,
    kind: Kind,
}

enum Kind {
    Msi(Msi, Arc<MsiState>),
    MsiX(MsiX, Arc<Mmio>),
}

/// What the messages of an MSI function share.
struct MsiState {
    /// What its mask bits should be, if it has any.
    mask: AtomicU32,
    /// How many messages are switched on. MSI is on exactly while this is not 0.
    on: WaitLock<u16>,
    /// How many messages it was programmed for.
    used: u16,
}

impl PciDevice {
    /// Programs `messages`, from message 0 on, and leaves them off or masked, the function's line disabled. `None` for
    /// those that nobody will use. For MSI all are of one block: the same address, consecutive data.
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
        let source = |message, kind| MessageSource { device: self.clone(), message, kind };
        match kind {
            Messages::Msi(msi) => {
                let first = messages.first().copied().flatten().ok_or(Error::NoMessages(location))?;
                msi.program(&mut self.function(at), first, used.next_power_of_two())?;
                let state = Arc::new(MsiState { mask: AtomicU32::new(u32::MAX), on: WaitLock::new(0), used });
                Ok((0..used).map(|n| source(n, Kind::Msi(msi, state.clone()))).collect())
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
                Ok((0..used).map(|n| source(n, Kind::MsiX(msix, table.clone()))).collect())
            }
        }
    }

    /// Switches all messages off. A function that is gone has none: that is no error. PASSIVE.
    pub fn disable_messages(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        let mut function = self.function(at);
        gone_is_off(match self.messages() {
            Some(Messages::Msi(msi)) => msi.set_enabled(&mut function, false),
            Some(Messages::MsiX(msix)) => msix.disable(&mut function),
            None => Ok(()),
        })
    }

    fn map_table(&self, at: &mut At<'_, Passive>, msix: &MsiX) -> Result<Mmio, Error> {
        let table = msix.table();
        let part = self.map_bar(at, msix.bar())?.part(table.start as usize, (table.end - table.start) as usize);
        part.map_err(|_| Error::BadTable(self.location()))
    }
}

impl MessageSource {
    /// Lets the function send the message: its interrupt is connected. PASSIVE.
    pub fn switch_on(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        let Kind::Msi(msi, state) = &self.kind else { return Ok(()) };
        let mut on = state.on.acquire(at);
        if *on == 0 {
            msi.set_enabled(&mut self.device.function(at), true)?;
        }
        *on += 1;
        Ok(())
    }

    /// Undoes one [`Self::switch_on`]: its interrupt is about to be disconnected. What was on its way has arrived when
    /// this returns. Of several messages without mask bits, each can be sent until the last is switched off: the disable
    /// callback has to see to it that none is; the core counts those as unexpected. PASSIVE.
    pub fn switch_off(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        let Kind::Msi(msi, state) = &self.kind else { return Ok(()) };
        let mut on = state.on.acquire(at);
        *on -= 1;
        let mut function = self.device.function(at);
        // A read pushes out what the function has sent before it answers.
        gone_is_off(if *on > 0 { function.check_present() } else { msi.set_enabled(&mut function, false) })
    }

    /// Tells the function another message, while the core holds its interrupt masked to move it. What the function has to say
    /// meanwhile waits for the unmask if it has mask bits; else it is lost, and the core replays an interrupt after the
    /// move. PASSIVE.
    pub fn reprogram(&self, at: &mut At<'_, Passive>, message: MsiMessage) -> Result<(), Error> {
        match &self.kind {
            Kind::MsiX(msix, table) => {
                msix.program(&mut Mapped::new(table, 0, at), self.message, message);
                self.device.function(at).check_present()
            }
            Kind::Msi(_, state) if state.used > 1 => {
                Err(Error::OneBlock { location: self.device.location(), messages: state.used })
            }
            Kind::Msi(msi, state) => {
                let on = state.on.acquire(at);
                let function = &mut self.device.function(at);
                // Off meanwhile, with every message masked.
                msi.program(function, message, 1)?;
                let _maskable = msi.set_masked(&mut function.registers, &state.mask, 0, true);
                msi.set_enabled(function, *on > 0)
            }
        }
    }

    /// `false`: the function cannot mask, or the bit did not take because it is stuck or the function is gone.
    fn set_masked(&self, at: &mut At<'_, Dirql>, masked: bool) -> bool {
        match &self.kind {
            Kind::Msi(msi, state) => {
                let registers = &mut self.device.function(at).registers;
                msi.set_masked(registers, &state.mask, self.message, masked).unwrap_or(false)
            }
            Kind::MsiX(msix, table) => msix.set_masked(&mut Mapped::new(table, 0, at), self.message, masked),
        }
    }
}

fn gone_is_off(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Gone(_)) => Ok(()),
        other => other,
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

    fn can_mask(&self) -> bool {
        match &self.kind {
            Kind::Msi(msi, _) => msi.is_maskable(),
            Kind::MsiX(..) => true,
        }
    }

    /// Bus master off: the function sends no message, and transfers nothing, until it is started anew.
    fn cut_off(&self, at: &mut At<'_, Dirql>) -> bool {
        self.device.function(at).change_command(Command::empty(), Command::BUS_MASTER).is_ok()
    }
}

impl fmt::Debug for MessageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of {}", self.message, self.device.location())
    }
}
