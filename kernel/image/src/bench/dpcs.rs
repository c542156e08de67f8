//! The DPC queue as it grows: what one more costs to insert and to run, beside 1, 100 and 10,000.

use super::window::{close, mark, open};
use alloc::{format, vec::Vec};
use core::{
    hint::black_box,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use ke::{At, Dispatch, Dpc, DpcRoutine, Passive, SpinLock};

const DEPTHS: [usize; 3] = [1, 100, 10_000];

static RAN: AtomicU32 = AtomicU32::new(0);

/// The smallest body that does something.
struct Body;

impl DpcRoutine for Body {
    fn run(&self, _: [usize; 2], _: &mut At<'_, Dispatch>) {
        RAN.store(1, Relaxed);
    }
}

/// All windows.
pub fn queue(at: &mut At<'_, Passive>) {
    for depth in DEPTHS {
        inserts(depth, at);
    }
    let dpcs: Vec<Dpc<Body>> = (0..=DEPTHS[2]).map(|_| Dpc::new(Body)).collect();
    drain("dpc_drain_base", &dpcs[..1], at);
    for depth in DEPTHS {
        drain(&format!("dpc_drain_{depth}"), &dpcs[..depth + 1], at);
    }
    // Read, or nothing would be written either.
    black_box(RAN.load(Relaxed));
}

/// Eight DPCs of this CPU inserted at DISPATCH when `depth` are queued, then none.
fn inserts(depth: usize, at: &mut At<'_, Passive>) {
    let queued: Vec<Dpc<Body>> = (0..depth).map(|_| Dpc::new(Body)).collect();
    let fresh = [(); 8].map(|()| Dpc::new(Body));
    let window = format!("dpc_insert_{depth}");
    SpinLock::new(()).with(at, |(), at| {
        for dpc in &queued {
            dpc.insert(at);
        }
        open(&window, at);
        insert_all(&fresh, at);
        close(&window, at);
    });
}

/// A function of its own: nothing else is computed between the marks.
#[inline(never)]
fn insert_all([a, b, c, d, e, f, g, h]: &[Dpc<Body>; 8], at: &mut At<'_, Dispatch>) {
    mark();
    a.insert(at);
    b.insert(at);
    c.insert(at);
    d.insert(at);
    e.insert(at);
    f.insert(at);
    g.insert(at);
    h.insert(at);
    mark();
    mark();
}

/// Lowers from DISPATCH when `dpcs` are queued: once to warm up, once traced.
fn drain(window: &str, dpcs: &[Dpc<Body>], at: &mut At<'_, Passive>) {
    let level = SpinLock::new(());
    for is_traced in [false, true] {
        let mut guard = level.acquire(at);
        let (_, raised) = guard.parts();
        for dpc in dpcs {
            dpc.insert(raised);
        }
        if is_traced {
            open(window, raised);
        }
        mark();
        drop(guard);
        mark();
        if is_traced {
            close(window, at);
        }
    }
}
