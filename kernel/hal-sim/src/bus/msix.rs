//! MSI-X: a table and pending bits, which lie in a function's own memory.
//!
//! A message that finds its entry masked, or the whole function, sets its pending bit and leaves when the mask is gone.
//! What the specification leaves undefined fails the run: accesses of other widths than 4 and 8 bytes, writes to the
//! pending bits, and an address or data that changes under an entry that is in use.

use crate::model::MsiX;
use ke::hal::MsiMessage;
use std::{fmt, ops::Range};

const ENTRY_LEN: u64 = 16;
/// Words of an entry: the address, the data, the vector control.
const VECTOR_CONTROL: usize = 3;
const MASKED: u32 = 1;

/// Which of the two structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Table,
    Pending,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Table => "MSI-X table",
            Part::Pending => "MSI-X pending bits",
        })
    }
}

/// The structures of one function.
#[derive(Debug)]
pub(super) struct Table {
    bar: usize,
    table: Range<u64>,
    pending_at: Range<u64>,
    entries: Vec<[u32; 4]>,
    pending: Vec<bool>,
}

impl Table {
    /// As after a reset: every entry masked.
    pub(super) fn new(msix: &MsiX, bar_size: u64) -> Self {
        let table = msix.table..msix.table + u64::from(msix.messages) * ENTRY_LEN;
        let pending_at = msix.pending..msix.pending + u64::from(msix.messages).div_ceil(64) * 8;
        let inside = table.end <= bar_size && pending_at.end <= bar_size;
        let apart = table.end <= pending_at.start || pending_at.end <= table.start;
        assert!(msix.messages > 0 && inside && apart, "table and pending bits lie in the BAR, apart");
        assert!((msix.table | msix.pending).is_multiple_of(8), "table and pending bits are aligned to 8 bytes");
        let count = usize::from(msix.messages);
        Table { bar: msix.bar, table, pending_at, entries: vec![[0, 0, 0, MASKED]; count], pending: vec![false; count] }
    }

    pub(super) fn at(&self, bar: usize, offset: u64) -> Option<(Part, u64)> {
        match () {
            () if bar != self.bar => None,
            () if self.table.contains(&offset) => Some((Part::Table, offset - self.table.start)),
            () if self.pending_at.contains(&offset) => Some((Part::Pending, offset - self.pending_at.start)),
            () => None,
        }
    }

    pub(super) fn read(&self, part: Part, offset: u64, width: usize) -> u64 {
        if !is_natural(offset, width) {
            return u64::MAX >> (64 - 8 * width);
        }
        let word = |n: u64| match part {
            Part::Table => self.entries[(n / 4) as usize][(n % 4) as usize],
            Part::Pending => {
                let bits = self.pending.iter().skip(n as usize * 32).take(32);
                bits.rev().fold(0, |word, pending| word << 1 | u32::from(*pending))
            }
        };
        let low = u64::from(word(offset / 4));
        if width == 8 { u64::from(word(offset / 4 + 1)) << 32 | low } else { low }
    }

    /// `in_use`: MSI-X is on and the function not masked as a whole.
    pub(super) fn write(
        &mut self,
        part: Part,
        offset: u64,
        width: usize,
        value: u64,
        in_use: bool,
    ) -> Result<(), String> {
        if part == Part::Pending || !is_natural(offset, width) {
            return Err(format!("{width} bytes are written to {part}+{offset:#x}"));
        }
        for (n, value) in [value as u32, (value >> 32) as u32].into_iter().take(width / 4).enumerate() {
            let word = offset as usize / 4 + n;
            let (number, entry) = (word / 4, &mut self.entries[word / 4]);
            if word % 4 != VECTOR_CONTROL && in_use && entry[VECTOR_CONTROL] & MASKED == 0 {
                return Err(format!("address or data of MSI-X entry {number} changes while it is in use"));
            }
            entry[word % 4] = value;
        }
        Ok(())
    }

    /// The device has message `number` to send: the message, or it is pending from now on.
    pub(super) fn raise(&mut self, number: u8, function_masked: bool) -> Option<MsiMessage> {
        let number = usize::from(number);
        let entry = self.entries.get(number)?;
        if function_masked || entry[VECTOR_CONTROL] & MASKED != 0 {
            self.pending[number] = true;
            return None;
        }
        Some(message(entry))
    }

    /// The messages that were pending and are masked no more.
    pub(super) fn take_pending(&mut self) -> Vec<MsiMessage> {
        let mut messages = Vec::new();
        for (entry, pending) in self.entries.iter().zip(&mut self.pending) {
            if *pending && entry[VECTOR_CONTROL] & MASKED == 0 {
                *pending = false;
                messages.push(message(entry));
            }
        }
        messages
    }

    /// Whether some message could leave, and none waits.
    pub(super) fn is_open(&self) -> bool {
        let open = self.entries.iter().any(|entry| entry[VECTOR_CONTROL] & MASKED == 0);
        open && !self.pending.contains(&true)
    }
}

/// Whether the specification defines such an access.
fn is_natural(offset: u64, width: usize) -> bool {
    matches!(width, 4 | 8) && offset.is_multiple_of(width as u64)
}

fn message(entry: &[u32; 4]) -> MsiMessage {
    MsiMessage { address: u64::from(entry[1]) << 32 | u64::from(entry[0]), data: entry[2] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: MsiMessage = MsiMessage { address: 0x1_fee0_1000, data: 0x51 };

    fn programmed() -> Table {
        let mut table = Table::new(&MsiX { messages: 3, bar: 1, table: 0, pending: 0x800 }, 0x1000);
        table.write(Part::Table, 16, 8, MESSAGE.address, true).expect("the entry is masked");
        table.write(Part::Table, 24, 4, MESSAGE.data.into(), true).expect("the entry is masked");
        table
    }

    fn set_masked(table: &mut Table, masked: bool) {
        table.write(Part::Table, 28, 4, masked.into(), true).expect("a mask can be written at any time");
    }

    #[test]
    fn what_is_raised_while_masked_is_pending_and_leaves_once() {
        let mut table = programmed();
        assert_eq!((table.raise(1, false), table.raise(1, false)), (None, None));
        assert_eq!((table.read(Part::Pending, 0, 4), table.take_pending()), (0b010, vec![]));
        set_masked(&mut table, false);
        assert_eq!((table.take_pending(), table.take_pending()), (vec![MESSAGE], vec![]));
        assert_eq!((table.raise(1, false), table.raise(1, true)), (Some(MESSAGE), None));
        assert_eq!(table.take_pending(), [MESSAGE]);
    }

    #[test]
    fn it_reads_back_and_lies_where_it_should() {
        let table = programmed();
        assert_eq!(table.read(Part::Table, 16, 8), MESSAGE.address);
        assert_eq!((table.read(Part::Table, 28, 4), table.read(Part::Table, 29, 1)), (1, 0xff));
        assert_eq!((table.at(1, 0x804), table.at(1, 48), table.at(0, 0)), (Some((Part::Pending, 4)), None, None));
    }

    #[test]
    fn what_no_driver_may_do_is_told() {
        let mut table = programmed();
        set_masked(&mut table, false);
        assert!(table.write(Part::Table, 24, 4, 0x52, true).is_err_and(|text| text.contains("entry 1 changes")));
        assert_eq!(table.write(Part::Table, 24, 4, 0x52, false), Ok(()));
        assert!(table.write(Part::Table, 28, 2, 1, true).is_err());
        assert!(table.write(Part::Pending, 0, 4, 1, true).is_err());
    }
}
