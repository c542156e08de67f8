//! One simulated machine: the life of a single schedule.
//!
//! The root (the explorer's own stack) boots the core, then resumes one fiber after another: whoever suspends has set
//! which CPU runs next, so all deciding happens in the fiber that stops ([`crate::schedule`]).
//!
//! When an oracle fires, or a callback panics, the machine is marked dead first and then unwound: `Hal` methods do
//! nothing from there on, so that the guards that drop on the way find no lock to release and nobody to wake. Fibers
//! that were suspended are resumed once more and unwound too, so that a million schedules leave nothing behind.
//!
//! **Invariant:** a `Machine` does not move and is used by one thread of execution at a time.

use crate::{
    apic::LocalApic,
    bus::Buses,
    callbacks::Callbacks,
    chooser::{Chooser, Log},
    explore::Granularity,
    fault::{Fault, FaultKind},
    fiber::{FiberId, Fibers, Progress},
    lines::Lines,
    memory::Memory,
    panics::{catch_panics_of_machines, payload_text},
    port::Port,
    schedule::Action,
    strand::{Frame, Strand, is_core, thread_name},
    trace::{Line, Recorder, Trace},
};
use ke::{
    At, Passive,
    percpu::PerCpu,
    system::System,
    verifier::{self, Verifier},
};
use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    panic::{self, AssertUnwindSafe, Location},
    ptr,
    rc::Rc,
    thread,
};

/// A test's main thread.
pub(crate) type Main = Box<dyn for<'c> FnOnce(&mut At<'c, Passive>) + Send>;

/// What an explorer decides for all its schedules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) cpus: usize,
    pub(crate) granularity: Granularity,
    pub(crate) failing_allocations: bool,
    pub(crate) verifier: bool,
    /// How far ahead a clock may be that fires although CPUs still run, in nanoseconds.
    pub(crate) horizon: u64,
}

/// The payload that unwinds the fibers of a dead machine.
struct Abandoned;

/// How a schedule ended.
pub(crate) struct Outcome {
    pub(crate) fault: Option<Fault>,
    pub(crate) log: Log,
    pub(crate) trace: Trace,
}

pub(crate) struct Machine {
    pub(crate) config: Config,
    pub(crate) fibers: Rc<dyn Fibers>,
    system: *mut System,
    pub(crate) cpus: Vec<Cpu>,
    /// The CPU that runs.
    pub(crate) running: Cell<usize>,
    pub(crate) dead: Cell<bool>,
    /// Booting: nothing is asked and nothing interrupts.
    pub(crate) quiet: Cell<bool>,
    /// Whether the scenario's main thread is at work: before and after it, every question gets the default.
    pub(crate) asking: Cell<bool>,
    pub(crate) main_done: Cell<bool>,
    pub(crate) finished: Cell<bool>,
    pub(crate) chooser: RefCell<Chooser>,
    pub(crate) bus: RefCell<Buses>,
    pub(crate) lines: RefCell<Lines>,
    pub(crate) memory: RefCell<Memory>,
    /// Messages that have left their device and reached no CPU yet.
    pub(crate) in_flight: RefCell<Vec<InFlight>>,
    pub(crate) now: Cell<u64>,
    /// Stops of the whole run, and since a CPU last blocked.
    pub(crate) stops: Cell<u32>,
    pub(crate) stops_in_a_row: Cell<u32>,
    /// Clock interrupts after the main thread has finished.
    pub(crate) late_clocks: Cell<u32>,
    /// By fiber number.
    pub(crate) strands: RefCell<Vec<Strand>>,
    pub(crate) recorder: RefCell<Recorder>,
    /// What the core holds.
    port: OnceCell<Port>,
    /// Whether code of this crate runs, not the core's or a driver's.
    pub(crate) inside: Cell<bool>,
    /// Blocks freed above DISPATCH.
    pub(crate) put_aside: Cell<usize>,
    pub(crate) callbacks: RefCell<Callbacks>,
    /// How often each spin lock was released that the verifier has asked about, by its word's address.
    pub(crate) releases: RefCell<HashMap<usize, u64>>,
    /// The fiber that the root resumed last.
    resumed: Cell<FiberId>,
    /// A fiber that the root is to end.
    to_unwind: Cell<Option<FiberId>>,
    /// The alternatives of the last stop, for their allocation.
    pub(crate) scratch: Cell<Vec<Action>>,
    fault: RefCell<Option<Fault>>,
}

/// One virtual CPU.
pub(crate) struct Cpu {
    pub(crate) fiber: Cell<FiberId>,
    pub(crate) wait: Cell<CpuWait>,
    pub(crate) interrupts_on: Cell<bool>,
    pub(crate) task_priority: Cell<u8>,
    /// The level word at the last interrupt.
    pub(crate) interrupted: Cell<u8>,
    pub(crate) apic: RefCell<LocalApic>,
    /// When the one-shot clock fires; `u64::MAX`: never.
    pub(crate) clock: Cell<u64>,
    /// Which slot of the bus last requested each vector.
    pub(crate) sources: RefCell<[Option<u16>; 256]>,
}

/// Whether a CPU can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuWait {
    Nothing,
    Halted,
    Spinning(usize),
    /// Lets the others go on until none of them can.
    Yielding,
}

/// A message on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) slot: usize,
    pub(crate) cpu: usize,
    pub(crate) vector: u8,
    /// Virtual time by which it has arrived.
    pub(crate) by: u64,
}

thread_local! {
    /// The machine that this thread of the host runs.
    static CURRENT: Cell<*const Machine> = const { Cell::new(ptr::null()) };
}

/// Runs `f` on the machine that this code is part of; `None` outside of one.
pub(crate) fn with_current<R>(f: impl FnOnce(&Machine) -> R) -> Option<R> {
    let machine = CURRENT.get();
    // SAFETY: set while that machine runs, and it does not move.
    (!machine.is_null()).then(|| f(unsafe { &*machine }))
}

/// A machine's address on its way to a fiber.
#[derive(Clone, Copy)]
struct MachineRef(*const Machine);

// SAFETY: fibers of a machine run one at a time (invariant of `fiber`), and end before the machine does.
unsafe impl Send for MachineRef {}

impl MachineRef {
    fn get(&self) -> &Machine {
        // SAFETY: the machine outlives its fibers and does not move.
        unsafe { &*self.0 }
    }
}

impl Machine {
    pub(crate) fn new(config: Config, fibers: Rc<dyn Fibers>, chooser: Chooser, bus: Buses, record: bool) -> Box<Self> {
        Box::new(Machine {
            config,
            fibers,
            system: Box::into_raw(ke::entry::boot(config.cpus as u32)),
            cpus: (0..config.cpus).map(|_| Cpu::new()).collect(),
            running: Cell::new(0),
            dead: Cell::new(false),
            quiet: Cell::new(true),
            asking: Cell::new(false),
            main_done: Cell::new(false),
            finished: Cell::new(false),
            chooser: RefCell::new(chooser),
            lines: RefCell::new(Lines::new(bus.wired())),
            bus: RefCell::new(bus),
            memory: RefCell::new(Memory::new()),
            in_flight: RefCell::default(),
            now: Cell::new(0),
            stops: Cell::new(0),
            stops_in_a_row: Cell::new(0),
            late_clocks: Cell::new(0),
            strands: RefCell::default(),
            recorder: RefCell::new(Recorder::new(record)),
            port: OnceCell::new(),
            inside: Cell::new(true),
            put_aside: Cell::new(0),
            callbacks: RefCell::default(),
            releases: RefCell::default(),
            resumed: Cell::new(0),
            to_unwind: Cell::new(None),
            scratch: Cell::default(),
            fault: RefCell::default(),
        })
    }

    /// The whole run: boot, `main`, everything that it started, the end.
    pub(crate) fn run(self: Box<Self>, main: Main) -> Outcome {
        catch_panics_of_machines();
        let before = CURRENT.replace(&*self);
        self.boot(main);
        while !self.dead.get() && !self.finished.get() {
            let fiber = self.cpu().fiber.get();
            if self.resume(fiber) == Progress::Ended && !self.dead.get() {
                self.fail(FaultKind::Hal, "a thread or an idle loop returned".to_owned());
            }
            self.unwind_discarded();
        }
        if !self.dead.get() {
            self.check_leaks();
        }
        self.dead.set(true);
        self.unwind_fibers();
        CURRENT.set(before);
        // SAFETY: from `Box::into_raw`, and every fiber that used it has ended.
        drop(unsafe { Box::from_raw(self.system) });
        Outcome {
            fault: self.fault.into_inner(),
            log: self.chooser.into_inner().into_log(),
            trace: self.recorder.into_inner().into_trace(),
        }
    }

    fn boot(&self, main: Main) {
        let this = MachineRef(self);
        for cpu in &self.cpus {
            let idle = move || {
                let machine = this.get();
                // SAFETY: the first code of this CPU's first fiber; boot leaves interrupts off.
                unsafe { ke::entry::run_cpu(machine.port()) };
            };
            cpu.fiber.set(self.create_fiber(ptr::null(), Box::new(idle)));
        }
        // The other CPUs come up first and wait, as after a real machine's SMP start.
        for cpu in 1..self.cpus.len() {
            self.running.set(cpu);
            self.resume(self.cpu().fiber.get());
        }
        self.running.set(0);
        let main = move |at: &mut At<'_, Passive>| {
            if this.get().config.verifier {
                // Virtual time says nothing of how long anything takes.
                verifier::start(at, Verifier::UNTIMED);
            }
            this.get().within(Machine::main_starts);
            main(at);
            this.get().within(Machine::main_returned);
        };
        // SAFETY: CPU 0 has run nothing yet and its interrupts are off.
        unsafe { ke::entry::spawn_main(self.port(), "main", main) };
        self.quiet.set(false);
    }

    fn main_starts(&self) {
        self.settle();
        // What the core did until here is the same in every schedule.
        self.recorder.borrow_mut().start_over();
        self.asking.set(true);
    }

    fn main_returned(&self) {
        self.asking.set(false);
        let level = self.irql();
        if level != 0 {
            self.fail_here(FaultKind::IrqlImbalance, format!("the main thread ends at IRQL {level}"));
        }
        self.main_done.set(true);
    }

    /// A fiber that runs `body` as part of this machine and keeps every unwind to itself.
    pub(crate) fn create_fiber(&self, thread: *const ke::Thread, body: Box<dyn FnOnce()>) -> FiberId {
        let this = MachineRef(self);
        let guarded = move || {
            let machine = this.get();
            CURRENT.set(machine);
            if machine.dead.get() {
                return;
            }
            machine.inside.set(false);
            let result = panic::catch_unwind(AssertUnwindSafe(body));
            machine.inside.set(true);
            if let Err(payload) = result {
                machine.caught(payload);
            }
        };
        let (ended, frames) = (false, Vec::new());
        self.strands.borrow_mut().push(Strand { thread, ended, halted: false, frames, last: None, accessor: None });
        // SAFETY: the machine ends every fiber before it goes away, and a body borrows nothing else.
        unsafe { self.fibers.create(Box::new(guarded)) }
    }

    /// The unwind of a fiber has reached its boundary.
    fn caught(&self, payload: Box<dyn Any + Send>) {
        if !payload.is::<Abandoned>() && !self.dead.get() {
            // The hook has reported a panic; what comes here was thrown by `resume_unwind`.
            self.fail(FaultKind::BugCheck, format!("unwound by a foreign payload: {}", payload_text(&*payload)));
        }
    }

    fn resume(&self, fiber: FiberId) -> Progress {
        self.resumed.set(fiber);
        let progress = self.fibers.resume(fiber);
        if progress == Progress::Ended {
            self.strands.borrow_mut()[fiber].ended = true;
        }
        progress
    }

    /// Called by the running fiber: lets the root resume whatever [`Self::running`] runs now.
    pub(crate) fn pass(&self, me: FiberId) {
        self.fibers.suspend(me);
        self.inside.set(true);
        if self.dead.get() && !self.strands.borrow()[me].halted {
            self.abandon();
        }
    }

    /// Frees the stack of a thread that has switched away for the last time. Called by another fiber.
    pub(crate) fn discard(&self, fiber: FiberId) {
        // SAFETY: the core calls this for ended threads, whose frames are its own and own nothing.
        if unsafe { self.fibers.discard(fiber) } {
            self.strands.borrow_mut()[fiber].ended = true;
        } else {
            self.to_unwind.set(Some(fiber));
            self.pass(self.cpu().fiber.get());
        }
    }

    /// Ends an ended thread's fiber while its thread still exists, where frames cannot just be forgotten.
    fn unwind_discarded(&self) {
        if let Some(fiber) = self.to_unwind.take() {
            let dead = self.dead.replace(true);
            self.resume(fiber);
            self.dead.set(dead);
        }
    }

    fn unwind_fibers(&self) {
        let count = self.strands.borrow().len();
        for fiber in 0..count {
            let ended = self.strands.borrow()[fiber].ended;
            if !ended && self.resume(fiber) == Progress::Suspended {
                // A drop that waits while its fiber unwinds: nobody can let it go on, so its frames stay.
                // SAFETY: it is leaked rather than dropped, which is safe.
                unsafe { self.fibers.discard(fiber) };
            }
        }
        self.fibers.clear();
    }

    /// The running fiber is part of a dead machine: unwinds it, unless a drop of that very unwind asks.
    pub(crate) fn abandon(&self) {
        if !thread::panicking() {
            panic::resume_unwind(Box::new(Abandoned));
        }
    }

    /// As [`Self::abandon`] for what cannot return.
    pub(crate) fn abandon_for_good(&self) -> ! {
        self.abandon();
        loop {
            // Not what the CPU runs: a dead machine's fibers are resumed one after another.
            self.fibers.suspend(self.resumed.get());
        }
    }

    /// Marks the machine dead. The first fault counts.
    pub(crate) fn fail(&self, kind: FaultKind, message: String) {
        self.fail_at(kind, message, None);
    }

    /// As [`Self::fail`], and unwinds the running fiber.
    pub(crate) fn fail_here(&self, kind: FaultKind, message: String) {
        self.fail(kind, message);
        self.abandon();
    }

    /// As [`Self::fail`], with the source line of a panic.
    pub(crate) fn fail_at(&self, kind: FaultKind, message: String, place: Option<(String, u32)>) {
        if self.dead.replace(true) {
            return;
        }
        let fault = Fault { kind, message, place };
        self.note_at(fault.to_string(), None);
        *self.fault.borrow_mut() = Some(fault);
    }

    /// The machine as the core sees it.
    pub(crate) fn port(&self) -> &Port {
        self.port.get_or_init(|| Port(self))
    }

    /// Runs `f` as code of this crate that a driver or a test has called.
    pub(crate) fn within<R>(&self, f: impl FnOnce(&Self) -> R) -> R {
        let before = self.inside.replace(true);
        let result = f(self);
        self.inside.set(before);
        result
    }

    pub(crate) fn system(&self) -> &System {
        // SAFETY: from `Box::into_raw`, freed at the end of `run`; only shared references are made of it.
        unsafe { &*self.system }
    }

    pub(crate) fn cpu(&self) -> &Cpu {
        &self.cpus[self.running.get()]
    }

    pub(crate) fn percpu(&self) -> &PerCpu {
        &self.system().cpus()[self.running.get()]
    }

    /// The IRQL of the CPU that runs.
    pub(crate) fn irql(&self) -> u8 {
        let level = self.percpu().level_word().load(std::sync::atomic::Ordering::Relaxed);
        (level as u8).max(self.cpu().task_priority.get())
    }

    /// The locks that the CPU is known to hold, above PASSIVE: for the end of a sentence.
    pub(crate) fn held(&self) -> String {
        ke::entry::held_text(self.port()).to_string()
    }

    /// What runs on the current CPU, for a trace.
    pub(crate) fn who(&self, fiber: FiberId) -> String {
        let Ok(strands) = self.strands.try_borrow() else { return String::new() };
        let strand = &strands[fiber];
        match strand.frames.last() {
            Some(Frame::Interrupt(vector)) => format!("interrupt {vector:#04x}"),
            Some(Frame::Callback { what, .. }) => (*what).to_owned(),
            None => thread_name(strand).to_owned(),
        }
    }

    /// Records a line if the run is recorded. `what` gets the recorder to number objects with.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Recorder) -> String) {
        if self.recorder.borrow().is_on() {
            let what = what(&mut self.recorder.borrow_mut());
            self.note_at(what, None);
        }
    }

    pub(crate) fn note_at(&self, what: String, location: Option<&'static Location<'static>>) {
        self.note_line(what, location, location.is_some_and(is_core));
    }

    /// As [`Self::note_at`]. A minor line counts as such for drivers; for the core's own tests all lines matter.
    pub(crate) fn note_line(&self, what: String, location: Option<&'static Location<'static>>, minor: bool) {
        let Ok(on) = self.recorder.try_borrow().map(|recorder| recorder.is_on()) else { return };
        if on {
            let minor = minor && self.config.granularity == Granularity::Coarse;
            let (cpu, irql) = (Some(self.running.get()), self.irql());
            let line = Line::new(self.now.get(), self.who(self.cpu().fiber.get()), what);
            self.recorder.borrow_mut().line(Line { cpu, irql, location, minor, ..line });
        }
    }

    /// Records something that no CPU did.
    pub(crate) fn note_outside(&self, who: &str, what: &str) {
        if self.recorder.borrow().is_on() {
            let line = Line::new(self.now.get(), who.to_owned(), what.to_owned());
            self.recorder.borrow_mut().line(line);
        }
    }
}

impl Cpu {
    fn new() -> Self {
        Cpu {
            fiber: Cell::new(0),
            wait: Cell::new(CpuWait::Nothing),
            interrupts_on: Cell::new(false),
            task_priority: Cell::new(0),
            interrupted: Cell::new(0),
            apic: RefCell::default(),
            clock: Cell::new(u64::MAX),
            sources: RefCell::new([None; 256]),
        }
    }
}
