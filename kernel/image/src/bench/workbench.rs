//! Objects of a device, and the wait lock: what the framework and the core take for a DPC object, a timer, a hand-over.

use super::{
    eight_times,
    window::{close, mark, open, traced},
};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
};
use core::{
    hint::{black_box, spin_loop},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use framework::{Pnp, prelude::*};
use ke::thread::{self, ThreadOptions};

/// Nanoseconds until a timer expires that is waited for, and that is not.
const SOON: u64 = 20_000;
const LATER: u64 = 3_600_000_000_000;

/// The driver: of a function that every machine of QEMU's q35 has and that has nothing to do here, its SMBus controller.
pub struct Workbench {
    scope: Scope<u32>,
    plain: Dpc<Plain>,
    in_turn: Dpc<InTurn>,
    timer: Timer<Plain>,
    ran: AtomicU32,
}

struct Plain;
struct InTurn;

impl Device for Workbench {
    const NAME: &'static str = "workbench";
    const IDS: &'static [PciId] = &[PciId(0x8086, 0x2930)];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.io_queue(Answers).default_queue().create()?;
        Ok(Workbench {
            scope: Scope::new(0),
            plain: hw.dpc(Plain),
            in_turn: hw.dpc(InTurn),
            timer: hw.timer(Plain).create(),
            ran: AtomicU32::new(0),
        })
    }
}

impl Workbench {
    /// What every callback here does; xtask looks for this function.
    #[inline(always)]
    fn bench_body(&self) {
        self.ran.store(self.ran.load(Relaxed) + 1, Relaxed);
    }
}

impl EvtDpcFunc for Plain {
    type Device = Workbench;

    fn evt_dpc_func(&self, bench: &Workbench, _: &mut At<'_, Dispatch>) {
        bench.bench_body();
    }
}

impl EvtTimerFunc for Plain {
    type Device = Workbench;
    type Level = Dispatch;

    fn evt_timer_func(&self, bench: &Workbench, _: &mut At<'_, Dispatch>) {
        bench.bench_body();
    }
}

impl Serialized for InTurn {
    type Device = Workbench;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, bench: &'a Workbench) -> &'a Scope<u32> {
        &bench.scope
    }
}

impl EvtSerializedDpcFunc for InTurn {
    fn evt_dpc_func(&self, bench: &Workbench, turns: &mut u32, _: &mut At<'_, Dispatch>) {
        *turns += 1;
        bench.bench_body();
    }
}

/// The queue of a device that has nothing to do for an answer.
struct Answers;

impl EvtIo for Answers {
    type Device = Workbench;
    type Level = Dispatch;

    fn evt_io_device_control(&self, _: &Workbench, request: Request<Ioctl>, at: &mut At<'_, Dispatch>) -> Disposed {
        request.complete(at, &[0; 4])
    }
}

/// A request with four bytes each way, from its submitter's call to its return. The first one is not counted: it finds the heap
/// without blocks of its sizes.
pub fn requests(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<(), String> {
    let file = pnp.open("workbench#0").map_err(|status| status.to_string())?;
    let ask = |at: &mut At<'_, Passive>| file.control(at, 0, &[0; 4], &mut [0; 4]);
    let mut answers = [ask(at), Ok(0)];
    traced("request", at, |at| {
        mark();
        answers[1] = ask(at);
        mark();
    });
    if answers == [Ok(4), Ok(4)] { Ok(()) } else { Err(format!("the requests ended as {answers:?}")) }
}

/// DPC objects and timers.
pub fn objects(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<(), String> {
    let device = pnp.device::<Workbench>("workbench#0").ok_or("bench needs the device of its own driver")?;
    let windows = |bench: &Workbench, at: &mut At<'_, Passive>| {
        for (window, serialized) in [("dpc_object", false), ("dpc_serialized", true)] {
            traced(window, at, |at| {
                mark();
                if serialized {
                    bench.in_turn.enqueue(at)
                } else {
                    bench.plain.enqueue(at)
                };
                mark();
            });
        }
        traced("timer_arm_cancel", at, |at| {
            mark();
            eight_times!({
                bench.timer.start(at, LATER);
                bench.timer.stop(at);
            });
            mark();
            mark();
        });
        traced("timer_fire", at, |at| {
            let before = bench.ran.load(Relaxed);
            bench.timer.start(at, SOON);
            mark();
            while bench.ran.load(Relaxed) == before {
                spin_loop();
            }
            mark();
        });
    };
    device.with(at, windows).map_err(|status| format!("{}: {status}", device.name()))
}

/// A wait lock that nobody wants, and one that is handed over to a thread that waits for it.
pub fn wait_locks(at: &mut At<'_, Passive>) -> Result<(), String> {
    let lock = Arc::new(WaitLock::new(0u32));
    let free = black_box(&*lock);
    traced("wait_lock", at, |at| {
        mark();
        eight_times!(drop(free.acquire(at)));
        mark();
        mark();
    });
    for is_traced in [false, true] {
        let held = lock.acquire(at);
        let wanted = lock.clone();
        // It is more urgent, so it runs at once, up to the lock, and goes on as soon as it has it.
        let waiter = thread::spawn(at, ThreadOptions::named("bench").priority(20), move |at| {
            let mut turns = wanted.acquire(at);
            mark();
            *turns += 1;
        });
        if is_traced {
            open("wait_lock_hand_over", at);
        }
        mark();
        drop(held);
        if is_traced {
            close("wait_lock_hand_over", at);
        }
        let waiter = waiter.map_err(|error| error.to_string())?;
        waiter.join(at).map_err(|error| error.to_string())?;
    }
    Ok(())
}
