//! Where a message-signaled interrupt comes from: what the core enables, masks and disables.
//!
//! A function's messages are made ready all together, off or masked; connecting an interrupt then writes its message
//! and lets it go, disconnecting silences it.
//!
//! **Invariant:** a message register or table entry changes only while it is off or masked.

use crate::{Error, Messages, Msi, MsiX, PciDevice, mapping::Mapped};
use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use ke::{At, Dirql, Level, Mmio, Passive, Source, SpinLock, WaitLock, hal::MsiMessage};

/// One message of a function. Cloning clones the handle.
#[derive(Clone)]
pub struct MessageSource(Arc<Inner>);

struct Inner {
    device: Arc<PciDevice>,
    message: u16,
    kind: Kind,
    /// What went wrong where the core could not be told.
    trouble: SpinLock<Option<Error>>,
}

enum Kind {
    Msi(Msi, Arc<MsiState>),
    MsiX(MsiX, Arc<Mmio>),
}

/// What the messages of an MSI function share.
struct MsiState {
    /// How many messages are switched on together.
    block: u16,
    /// A bit for each message that is connected. Held while the capability is programmed.
    connected: WaitLock<u32>,
    /// What the mask bits should be.
    mask: AtomicU32,
}

impl PciDevice {
    /// Makes messages 0 to `used - 1` ready to be connected: off, or masked one by one, the line disabled. For MSI the
    /// vectors must be those of one block. PASSIVE.
    pub fn prepare_messages(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        used: u16,
    ) -> Result<Vec<MessageSource>, Error> {
        let location = self.location();
        let messages = self.messages().ok_or(Error::NoMessages(location))?;
        if used > messages.count() {
            return Err(Error::NoSuchMessage { location, message: used - 1, available: messages.count() });
        }
        let source = |message, kind| {
            MessageSource(Arc::new(Inner { device: self.clone(), message, kind, trouble: SpinLock::new(None) }))
        };
        match messages {
            Messages::Msi(msi) => {
                msi.set_enabled(&mut self.function(at), false)?;
                let block = used.next_power_of_two();
                let state = MsiState { block, connected: WaitLock::new(0), mask: AtomicU32::new(u32::MAX) };
                let state = Arc::new(state);
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
                msix.unmask_function(&mut self.function(at))?;
                Ok((0..used).map(|n| source(n, Kind::MsiX(msix, table.clone()))).collect())
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
    /// The message's number.
    pub fn message(&self) -> u16 {
        self.0.message
    }

    /// What went wrong since the last question, while the core enabled or disabled the source. PASSIVE.
    pub fn take_trouble(&self, at: &mut At<'_, Passive>) -> Option<Error> {
        self.0.trouble.acquire(at).take()
    }

    /// Writes the message and lets it go.
    fn connect(&self, at: &mut At<'_, Passive>, message: MsiMessage) -> Result<(), Error> {
        let Inner { device, message: number, kind, .. } = &*self.0;
        match kind {
            Kind::Msi(msi, state) => {
                let mut connected = state.connected.acquire(at);
                if *connected == 0 {
                    // Message n carries the first one's data plus n.
                    let first = MsiMessage { data: message.data - u32::from(*number), ..message };
                    msi.program(&mut device.function(at), first, state.block)?;
                    state.mask.store(u32::MAX, Relaxed);
                    msi.set_enabled(&mut device.function(at), true)?;
                }
                *connected |= 1 << number;
            }
            Kind::MsiX(msix, table) => msix.program(&mut Mapped::new(table, 0, at), *number, message),
        }
        self.set_masked(at, false).map(|_maskable| ())
    }

    /// Silences the message. Functions that can neither mask nor have all their messages off go on sending: to a vector
    /// that is theirs until all are off, where it is counted as unexpected.
    fn disconnect(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        self.set_masked(at, true)?;
        let Inner { device, message: number, kind, .. } = &*self.0;
        if let Kind::Msi(msi, state) = kind {
            let mut connected = state.connected.acquire(at);
            *connected &= !(1 << number);
            if *connected == 0 {
                msi.set_enabled(&mut device.function(at), false)?;
            }
        }
        Ok(())
    }

    /// Masks or unmasks the message and reads that back: a message that was on its way has then arrived. `Ok(false)`:
    /// the function cannot mask, so the core must latch. Any IRQL.
    fn set_masked<L: Level>(&self, at: &mut At<'_, L>, masked: bool) -> Result<bool, Error> {
        let Inner { device, message: number, kind, .. } = &*self.0;
        let taken = match kind {
            Kind::Msi(msi, state) => msi.set_masked(&mut device.function(at).registers, &state.mask, *number, masked),
            Kind::MsiX(msix, table) => Some(msix.set_masked(&mut Mapped::new(table, 0, at), *number, masked)),
        };
        let location = device.location();
        match taken {
            None => Ok(false),
            Some(true) => Ok(true),
            Some(false) if !device.is_present(at) => Err(Error::Gone(location)),
            Some(false) => Err(Error::MaskNotTaken { location, message: *number, masked }),
        }
    }

    fn note(&self, at: &mut At<'_, Passive>, result: Result<(), Error>) {
        if let Err(error) = result {
            *self.0.trouble.acquire(at) = Some(error);
        }
    }
}

impl Source for MessageSource {
    fn enable(&self, message: MsiMessage, at: &mut At<'_, Passive>) {
        let result = self.connect(at, message);
        self.note(at, result);
    }

    fn disable(&self, at: &mut At<'_, Passive>) {
        match self.disconnect(at) {
            // What is gone is silent.
            Err(Error::Gone(_)) => {}
            result => self.note(at, result),
        }
    }

    fn mask(&self, at: &mut At<'_, Dirql>) -> bool {
        // A mask that did not take is as good as none: the core latches then.
        self.set_masked(at, true).unwrap_or(false)
    }

    fn unmask(&self, at: &mut At<'_, Dirql>) {
        // It fails where nothing could be masked: the function is gone, or its mask bit is stuck and `mask` said so.
        let _unmasked = self.set_masked(at, false);
    }
}

impl fmt::Debug for MessageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { device, message, .. } = &*self.0;
        write!(f, "message {message} of {}", device.location())
    }
}
