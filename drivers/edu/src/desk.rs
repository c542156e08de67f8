//! The desk: the request that the driver has, and what the device does for it. Everything here is in the device's scope.
//!
//! The device is asked when it is idle. It may be busy with something that was given up: then the request waits on the desk
//! until the device interrupts for that.
//!
//! **Invariant:** at most one request is on the desk, and `job` says what it asks for.

use crate::{
    ALL_ONES, DMA_DONE, DMA_RUN, Edu, FACTORIAL_DONE, LONGEST_TRANSFER, RAISED, TIME_OUT, USABLE_BUFFER, is_computing,
    is_transferring,
};
use framework::prelude::*;

/// DMA command: from the device to memory, not the other way.
const DMA_TO_MEMORY: u64 = 2;
/// DMA command: interrupt when it is done.
const DMA_INTERRUPT: u64 = 4;
/// The device's buffer in the device's own address space.
const DMA_BUFFER: u64 = 0x40000;
/// The device cuts addresses off above 28 bits.
pub(crate) const DMA_LIMIT: u64 = (1 << 28) - 1;

/// What is asked of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Job {
    #[default]
    None,
    /// Of a control request.
    Factorial(u32),
    /// Of a control request.
    Raise(u32),
    /// Of a write; so many bytes have been sent.
    Send { done: usize },
    /// Of a read; so many bytes have been fetched.
    Fetch { done: usize },
}

/// What the scope guards.
#[derive(Default)]
pub struct Desk {
    pub(crate) control: Parked<Ioctl>,
    pub(crate) write: Parked<Write>,
    pub(crate) read: Parked<Read>,
    job: Job,
    /// The device is at the job, or at the next piece of it.
    begun: bool,
    /// Interrupts that the device was asked for.
    raised: u64,
}

impl Desk {
    pub(crate) fn raised(&self) -> u64 {
        self.raised
    }

    /// A request was put on the desk.
    pub(crate) fn take_up(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>, job: Job, parked: Disposed) -> Disposed {
        (self.job, self.begun) = (job, false);
        edu.watch.start(at, TIME_OUT);
        self.begin(edu, at);
        parked
    }

    /// The request has left the desk.
    pub(crate) fn put_down(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>) {
        edu.watch.stop(at);
        (self.job, self.begun) = (Job::None, false);
    }

    /// The request fails, if there is one.
    pub(crate) fn fail(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>, why: Status) {
        if let Some(request) = self.read.take() {
            let _done = request.fail(at, why);
        } else if let Some(request) = self.write.take() {
            let _done = request.fail(at, why);
        } else if let Some(request) = self.control.take() {
            let _done = request.fail(at, why);
        }
        self.put_down(edu, at);
    }

    /// Continues after the ISR: what the device did is what it still says it did, since the bits may be those of a request that
    /// was given up long ago.
    pub(crate) fn serve(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>, status: u32) {
        match self.job {
            Job::Factorial(_) if self.begun && status & FACTORIAL_DONE != 0 && !is_computing(&edu.regs, at) => {
                let n = edu.regs.factorial.read(at);
                // No factorial is all ones: from 2! on they are even.
                if n == ALL_ONES { self.fail(edu, at, Status::Gone) } else { self.answer(edu, at, n) }
            }
            Job::Raise(bits) if self.begun && status & RAISED & bits != 0 => self.answer(edu, at, bits),
            Job::Send { done } if self.begun && status & DMA_DONE != 0 && !is_transferring(&edu.regs, at) => {
                self.sent(edu, at, done);
            }
            Job::Fetch { done } if self.begun && status & DMA_DONE != 0 && !is_transferring(&edu.regs, at) => {
                self.fetched(edu, at, done);
            }
            _ => {}
        }
        // What the device was at has been given up, if it was not that; or there is another piece.
        self.begin(edu, at);
    }

    fn answer(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>, n: u32) {
        if let Some(request) = self.control.take() {
            let _done = request.complete(at, &n.to_le_bytes());
        }
        self.put_down(edu, at);
    }

    fn sent(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>, done: usize) {
        let Some(request) = self.write.get() else { return };
        let (len, done) = (request.data().len(), done + piece(request.data().len(), done));
        (self.job, self.begun) = (Job::Send { done }, false);
        if done == len
            && let Some(request) = self.write.take()
        {
            let _done = request.complete(at, len);
            self.put_down(edu, at);
        }
    }

    fn fetched(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>, done: usize) {
        let Some(request) = self.read.get_mut() else { return };
        let (len, to) = (request.len(), done + piece(request.len(), done));
        if let Err(error) = edu.memory.copy_to(at, 0, &mut request.buffer()[done..to]) {
            return self.fail(edu, at, error.into());
        }
        (self.job, self.begun) = (Job::Fetch { done: to }, false);
        if to == len
            && let Some(request) = self.read.take()
        {
            let _done = request.complete_filled(at, len);
            self.put_down(edu, at);
        }
    }

    /// Asks the device, unless it has been asked, or is busy: then its interrupt leads here again.
    fn begin(&mut self, edu: &Edu, at: &mut At<'_, Dispatch>) {
        if self.job == Job::None || self.begun || is_computing(&edu.regs, at) || is_transferring(&edu.regs, at) {
            return;
        }
        if edu.regs.status.read(at) == ALL_ONES {
            return self.fail(edu, at, Status::Gone);
        }
        self.begun = true;
        self.raised += 1;
        match self.job {
            Job::None => {}
            Job::Factorial(n) => edu.regs.factorial.write(at, n),
            Job::Raise(bits) => edu.regs.irq_raise.write(at, bits),
            Job::Send { done } => {
                let Some(data) = self.write.get().map(Request::data) else { return };
                let len = piece(data.len(), done);
                match edu.memory.copy_from(at, 0, &data[done..done + len]) {
                    Ok(()) => transfer(edu, at, len, edu.memory.device_address(), DMA_BUFFER + done as u64, 0),
                    Err(error) => self.fail(edu, at, error.into()),
                }
            }
            Job::Fetch { done } => {
                let len = piece(self.read.get().map_or(0, Request::len), done);
                transfer(edu, at, len, DMA_BUFFER + done as u64, edu.memory.device_address(), DMA_TO_MEMORY);
            }
        }
    }
}

/// Whether a transfer of `len` bytes leaves the device alive.
pub(crate) fn fits(len: usize) -> bool {
    (1..=USABLE_BUFFER).contains(&len)
}

/// How many bytes the next transfer has, of `len` of which `done` are done.
fn piece(len: usize, done: usize) -> usize {
    LONGEST_TRANSFER.min(len - done)
}

fn transfer(edu: &Edu, at: &mut At<'_, Dispatch>, len: usize, from: u64, to: u64, direction: u64) {
    edu.regs.dma_source.write(at, from);
    edu.regs.dma_destination.write(at, to);
    edu.regs.dma_count.write(at, len as u64);
    edu.regs.dma_command.write(at, DMA_RUN | DMA_INTERRUPT | direction);
}
