//! Memory: the heap's classes and large blocks, and DMA memory.

use super::{
    Outcome,
    crew::{ensure, on_every_cpu},
};
use alloc::{format, vec, vec::Vec};
use hal_x86_64::{heap, memory};
use ke::{At, DmaBuffer, DmaError, Passive};

/// Sizes around every class of the heap, and beyond them.
const SIZES: [usize; 16] = [1, 15, 16, 17, 32, 33, 100, 128, 500, 1024, 2047, 2048, 2049, 5000, 65_536, 300_000];

pub fn heap(at: &mut At<'_, Passive>) -> Outcome {
    // What earlier checks left to the workers is freed first.
    ke::flush_dropped(at);
    let before = heap::in_use();
    fill_and_check(0)?;
    let after = heap::in_use();
    ensure(after <= before, || format!("{before} bytes were in use before, {after} after"))
}

pub fn heap_on_every_cpu(at: &mut At<'_, Passive>) -> Outcome {
    on_every_cpu(at, |cpu, _| (0..4).try_for_each(|_| fill_and_check(cpu as u8)))
}

/// Holds blocks of all sizes at once, each full of its own pattern, frees every second one, and looks at the others.
fn fill_and_check(seed: u8) -> Outcome {
    let pattern = |n: usize| seed.wrapping_mul(31).wrapping_add(n as u8);
    let mut blocks: Vec<Vec<u8>> = SIZES.iter().enumerate().map(|(n, &size)| vec![pattern(n); size]).collect();
    blocks.iter_mut().skip(1).step_by(2).for_each(|block| *block = Vec::new());
    let refilled: Vec<Vec<u8>> = SIZES.iter().map(|&size| vec![!seed; size]).collect();
    for (n, block) in blocks.iter().enumerate().step_by(2) {
        ensure(block.iter().all(|&byte| byte == pattern(n)), || {
            format!("a block of {} bytes changed while others were allocated", block.len())
        })?;
    }
    let sizes = refilled.iter().map(Vec::len);
    ensure(sizes.eq(SIZES), || "a block has another size than asked for".into())
}

pub fn dma(at: &mut At<'_, Passive>) -> Outcome {
    const LEN: usize = 3 * 4096;
    let free = memory::free_frame_count();
    for limit in [(1 << 28) - 1, (1 << 32) - 1, u64::MAX] {
        let buffer = DmaBuffer::new(at, LEN, limit).map_err(|error| format!("{error}"))?;
        let last = buffer.device_address() + (LEN as u64 - 1);
        let used = use_buffer(at, &buffer);
        buffer.free(at);
        used.map_err(|error| format!("{error}"))??;
        ensure(last <= limit, || format!("a buffer for a device that reaches {limit:#x} ends at {last:#x}"))?;
    }
    match DmaBuffer::new(at, LEN, LEN as u64 - 2) {
        Err(DmaError::OutOfMemory { .. }) => {}
        Err(other) => return Err(format!("a limit below the length was refused with: {other}")),
        Ok(buffer) => {
            let at_address = buffer.device_address();
            buffer.free(at);
            return Err(format!("{LEN} bytes were found below {LEN:#x}, at {at_address:#x}"));
        }
    }
    let now = memory::free_frame_count();
    ensure(now == free, || format!("{free} page frames were free before, {now} after"))
}

fn use_buffer(at: &mut At<'_, Passive>, buffer: &DmaBuffer) -> Result<Outcome, DmaError> {
    let fresh: [u8; 64] = buffer.read_at(at, LEN_OF_PAGE)?;
    buffer.write_at(at, buffer.len() - 4, [1, 2, 3, 4])?;
    let end: [u8; 4] = buffer.read_at(at, buffer.len() - 4)?;
    let beyond = buffer.read_at::<4, _>(at, buffer.len() - 3);
    Ok(ensure(fresh == [0; 64], || "a new buffer is not zeroed".into())
        .and(ensure(end == [1, 2, 3, 4], || format!("[1, 2, 3, 4] reads back as {end:?}")))
        .and(ensure(matches!(beyond, Err(DmaError::OutOfRange { .. })), || {
            "a read beyond the end was not refused".into()
        })))
}

const LEN_OF_PAGE: usize = 4096;
