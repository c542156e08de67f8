//! Device control: what is known is answered at once, what the device has to do goes to the work queue.

use crate::Edu;
use framework::prelude::*;

/// Control codes.
pub mod code {
    /// `n`, four bytes, the lowest first; gives `n`! modulo 2^32 likewise.
    pub const FACTORIAL: u32 = 1;
    /// Bits of 0xfe, likewise, with which the device is to interrupt; gives those that were served.
    pub const RAISE: u32 = 2;
    /// Gives [`Counters`](super::Counters): two numbers of eight bytes.
    pub const COUNTERS: u32 = 3;
}

/// How many interrupts there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Interrupts that the driver has asked the device for: one for a factorial, one for each transfer.
    pub raised: u64,
    /// Interrupts that the ISR has claimed.
    pub seen: u64,
}

impl Counters {
    /// As [`code::COUNTERS`] gives them.
    pub(crate) const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Counters::BYTES] {
        let mut bytes = [0; Counters::BYTES];
        bytes[..8].copy_from_slice(&self.raised.to_le_bytes());
        bytes[8..].copy_from_slice(&self.seen.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Counters::BYTES]) -> Self {
        let [raised, seen] = [0, 8].map(|at| core::array::from_fn(|n| bytes[at + n])).map(u64::from_le_bytes);
        Counters { raised, seen }
    }
}

/// The control queue: parallel, of no scope.
pub struct EduControl;

impl EvtIo for EduControl {
    type Device = Edu;
    type Level = Dispatch;

    fn evt_io_device_control(&self, edu: &Edu, request: Request<Ioctl>, at: &mut At<'_, Dispatch>) -> Disposed {
        match request.code() {
            code::COUNTERS => {
                let counters = edu.counters(at);
                request.complete(at, &counters.to_bytes())
            }
            code::FACTORIAL | code::RAISE => match request.forward(&edu.work, at) {
                Ok(forwarded) => forwarded,
                Err(refused) => refused.request.fail(at, refused.why),
            },
            _ => request.fail(at, Status::InvalidRequest),
        }
    }
}
