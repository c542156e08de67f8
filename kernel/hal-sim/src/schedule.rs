//! Where schedules differ: stops, what may happen at one, and what happens when nobody can go on.
//!
//! At a stop the default is to go on. The alternatives, each a deviation: another CPU runs, a device takes a step, a
//! message that is in flight arrives, the next clock fires. When a CPU blocks, the next one that can run does; when none
//! can, the first thing that is certain to happen does, and virtual time moves to it.
//!
//! **Invariant:** an interrupt that hardware would deliver at a stop is delivered there; only its sender's timing is a
//! choice.

use crate::{
    bus::{self, Effects},
    chooser::Actor,
    explore::Granularity,
    fault::FaultKind,
    machine::{CpuWait, InFlight, Machine},
    model::Step,
    strand::{Frame, last_point, thread_and_place, thread_name},
};
use ke::{hal::MsiMessage, percpu::CLOCK_VECTOR};

/// A schedule with more stops does not end by itself.
const MAX_STOPS: u32 = 50_000;
/// A CPU that stops so often in a row without blocking polls for something: others get a turn.
const PATIENCE: u32 = 1_000;
/// A message is under way for less, in nanoseconds.
const MESSAGE_TIME: u64 = 1_000_000;
/// A periodic timer that outlives the main thread fires so often and is then cut off.
const MAX_LATE_CLOCKS: u32 = 32;

/// What the operation at a stop can be seen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This CPU's interrupts alone.
    Local,
    /// Everybody.
    Shared,
}

/// One thing that may happen next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Continue,
    Run(usize),
    Arrive(usize),
    Step(usize, Step),
    Clock(usize),
}

impl Machine {
    /// A stop of the fine granularity alone.
    pub(crate) fn stop_fine(&self, reach: Reach) {
        if self.config.granularity == Granularity::Fine {
            self.stop(reach);
        }
    }

    /// An exploration point: interrupts are delivered, and the schedule may deviate.
    pub(crate) fn stop(&self, reach: Reach) {
        if self.quiet.get() {
            return;
        }
        if self.dead.get() {
            return self.abandon();
        }
        self.stops.set(self.stops.get() + 1);
        self.stops_in_a_row.set(self.stops_in_a_row.get() + 1);
        if self.stops.get() > MAX_STOPS {
            self.fail_here(FaultKind::Livelock, format!("{MAX_STOPS} stops and no end: {}", self.where_all_are()));
        }
        self.deliver();
        if !self.asking.get() && self.stops_in_a_row.get() <= PATIENCE
            || reach == Reach::Local && !self.cpu().interrupts_on.get()
        {
            return;
        }
        loop {
            let alternatives = self.alternatives(reach);
            let chosen = self.choose(&alternatives);
            self.scratch.set(alternatives);
            match chosen {
                Action::Continue => return,
                Action::Run(cpu) => {
                    self.stops_in_a_row.set(0);
                    self.run_other(cpu);
                    return self.deliver();
                }
                event => {
                    self.perform(event);
                    self.deliver();
                }
            }
        }
    }

    /// The running CPU cannot go on: runs others, then whatever is certain to happen, until it can.
    pub(crate) fn block(&self) {
        loop {
            self.stops_in_a_row.set(0);
            let me = self.running.get();
            let count = self.cpus.len();
            let able = (1..=count).map(|n| (me + n) % count).filter(|cpu| self.is_able(*cpu));
            let mut able: Vec<Action> = able.map(Action::Run).collect();
            if able.is_empty() {
                let yielding = (0..count).filter(|cpu| self.cpus[*cpu].wait.get() == CpuWait::Yielding);
                able.extend(yielding.map(Action::Run));
            }
            if !able.is_empty() {
                match self.choose(&able) {
                    Action::Run(cpu) if cpu == me => return,
                    Action::Run(cpu) => return self.run_other(cpu),
                    _ => unreachable!("only CPUs were offered"),
                }
            }
            let events = self.certain_events();
            if events.is_empty() {
                return self.nothing_can_happen();
            }
            self.check_quiescent();
            let event = self.choose(&events);
            self.perform(event);
        }
    }

    /// Lets everything that the core has started come to rest before the scenario begins.
    pub(crate) fn settle(&self) {
        self.cpu().wait.set(CpuWait::Yielding);
        self.block();
        self.cpu().wait.set(CpuWait::Nothing);
    }

    /// Whether `cpu` can run, at least an interrupt.
    fn is_able(&self, cpu: usize) -> bool {
        let cpu = &self.cpus[cpu];
        cpu.wait.get() == CpuWait::Nothing
            || cpu.interrupts_on.get() && cpu.apic.borrow().deliverable(cpu.task_priority.get()).is_some()
    }

    fn run_other(&self, cpu: usize) {
        let me = self.cpu().fiber.get();
        self.running.set(cpu);
        self.pass(me);
    }

    fn choose(&self, actions: &[Action]) -> Action {
        let actor = |n: usize| self.actor(actions[n]);
        let chosen = if self.asking.get() { self.chooser.borrow_mut().choose(actions.len(), actor) } else { 0 };
        if chosen != 0 {
            self.recorder.borrow_mut().mark_deviation();
            if let Action::Run(cpu) = actions[chosen] {
                self.note(|_| format!("-- CPU {cpu} runs instead"));
            }
        }
        actions[chosen]
    }

    /// A question about an outcome: `true` is a deviation.
    pub(crate) fn choose_outcome(&self) -> bool {
        let deviates = self.asking.get() && self.chooser.borrow_mut().choose(2, |_| Actor::Outcome) == 1;
        if deviates {
            self.recorder.borrow_mut().mark_deviation();
        }
        deviates
    }

    fn actor(&self, action: Action) -> Actor {
        match action {
            Action::Continue => Actor::Cpu(self.running.get()),
            Action::Run(cpu) => Actor::Cpu(cpu),
            Action::Arrive(_) => Actor::Message,
            Action::Step(slot, _) => Actor::Device(slot),
            Action::Clock(_) => Actor::Clock,
        }
    }

    fn alternatives(&self, reach: Reach) -> Vec<Action> {
        let mut actions = self.scratch.take();
        actions.clear();
        actions.push(Action::Continue);
        if reach == Reach::Shared {
            let others = (0..self.cpus.len()).filter(|cpu| *cpu != self.running.get() && self.is_able(*cpu));
            actions.extend(others.map(Action::Run));
        }
        if self.stops_in_a_row.get() <= PATIENCE {
            self.events(&mut actions, true);
            return actions;
        }
        // Who polls goes on only if nobody and nothing else can.
        self.stops_in_a_row.set(0);
        self.events(&mut actions, false);
        if actions.len() > 1 {
            actions.remove(0);
        }
        actions
    }

    /// What happens if every CPU waits for it.
    fn certain_events(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.events(&mut actions, false);
        actions
    }

    /// Messages in flight, steps that may come at any time, and of what time brings the earliest.
    fn events(&self, actions: &mut Vec<Action>, early: bool) {
        // Time does not pass what has to happen before.
        let mut no_later = if early { self.now.get().saturating_add(self.config.horizon) } else { u64::MAX };
        for (n, message) in self.in_flight.borrow().iter().enumerate() {
            actions.push(Action::Arrive(n));
            no_later = no_later.min(message.by);
        }
        let bus = self.bus.borrow();
        let mut timed: Vec<(u64, Action)> = Vec::new();
        let mut steps = Vec::new();
        for slot in 0..bus.slots().len() {
            bus.steps(slot, &mut steps);
            for step in steps.drain(..).filter(|step| step.certain || early) {
                match step.at {
                    None => actions.push(Action::Step(slot, step)),
                    Some(at) => timed.push((at, Action::Step(slot, step))),
                }
                no_later = no_later.min(step.by);
            }
        }
        if !self.main_done.get() || self.late_clocks.get() < MAX_LATE_CLOCKS {
            let armed = self.cpus.iter().enumerate().filter(|(_, cpu)| cpu.clock.get() != u64::MAX);
            timed.extend(armed.map(|(n, cpu)| (cpu.clock.get(), Action::Clock(n))));
        }
        let earliest = timed.iter().map(|(at, _)| *at).min().filter(|at| *at <= no_later);
        actions.extend(timed.into_iter().filter(|(at, _)| Some(*at) == earliest).map(|(_, action)| action));
    }

    fn perform(&self, action: Action) {
        match action {
            Action::Continue | Action::Run(_) => unreachable!("the caller handles what CPUs do"),
            Action::Arrive(n) => {
                let message = self.in_flight.borrow_mut().remove(n);
                self.arrive(message);
            }
            Action::Step(slot, step) => {
                self.now.set(self.now.get().max(step.at.unwrap_or(0)));
                let name = self.bus.borrow().slots()[slot].name.clone();
                self.note_outside(&name, step.what);
                self.with_model(slot, |model, bus| model.step(step.id, bus));
            }
            Action::Clock(cpu) => {
                let deadline = self.cpus[cpu].clock.replace(u64::MAX);
                self.now.set(self.now.get().max(deadline));
                if self.main_done.get() {
                    self.late_clocks.set(self.late_clocks.get() + 1);
                }
                self.note_outside("clock", &format!("fires on CPU {cpu}"));
                self.request(cpu, CLOCK_VECTOR, None);
            }
        }
    }

    /// What a device did beside answering.
    pub(crate) fn apply(&self, slot: usize, effects: Effects) {
        if let Some(fault) = effects.fault {
            let kind = if fault.starts_with("device ") { FaultKind::DeviceMemory } else { FaultKind::DeviceAbort };
            return self.fail_here(kind, fault);
        }
        for (wire, asserted) in effects.lines {
            self.drive_line(slot, wire, asserted);
        }
        self.update_lines(slot);
        for message in effects.sent {
            self.send(slot, message);
        }
        if effects.left {
            // What it has sent is past its link, and nothing pushes it any more.
            self.flush_messages(slot);
        }
    }

    fn send(&self, slot: usize, message: MsiMessage) {
        let name = self.bus.borrow().slots()[slot].name.clone();
        let Some((cpu, vector)) = bus::decode_message(message, self.cpus.len()) else {
            let text =
                format!("{name} sends message {:#x} to {:#x}, where no CPU listens", message.data, message.address);
            return self.fail_here(FaultKind::DeviceMemory, text);
        };
        self.note_outside(&name, &format!("message for vector {vector:#04x} on CPU {cpu}"));
        let by = self.now.get().saturating_add(MESSAGE_TIME);
        let message = InFlight { slot, cpu, vector, by };
        // With every CPU waiting a late message is the same as one now.
        let somebody_runs = (0..self.cpus.len()).any(|cpu| self.is_able(cpu));
        if somebody_runs && self.choose_outcome() {
            self.note_outside(&name, "the message is late");
            self.in_flight.borrow_mut().push(message);
        } else {
            self.arrive(message);
        }
    }

    fn arrive(&self, message: InFlight) {
        let name = self.bus.borrow().slots()[message.slot].name.clone();
        self.check_connected(&name, message.cpu, message.vector);
        self.request(message.cpu, message.vector, Some(message.slot));
    }

    /// A read that a device answers pushes its earlier messages to where they go.
    pub(crate) fn flush_messages(&self, slot: usize) {
        let (arrived, rest): (Vec<InFlight>, Vec<InFlight>) =
            self.in_flight.borrow().iter().partition(|message| message.slot == slot);
        *self.in_flight.borrow_mut() = rest;
        arrived.into_iter().for_each(|message| self.arrive(message));
    }

    pub(crate) fn request(&self, cpu: usize, vector: u8, source: Option<usize>) {
        self.cpus[cpu].sources.borrow_mut()[usize::from(vector)] = source.map(|slot| slot as u16);
        self.cpus[cpu].apic.borrow_mut().request(vector);
    }

    /// Takes every interrupt that hardware would deliver to the running CPU now, nested on the running fiber.
    pub(crate) fn deliver(&self) {
        while !self.dead.get() && self.cpu().interrupts_on.get() {
            let cpu = self.cpu();
            let Some(vector) = cpu.apic.borrow().deliverable(cpu.task_priority.get()) else { return };
            cpu.apic.borrow_mut().accept(vector);
            cpu.interrupts_on.set(false);
            let fiber = cpu.fiber.get();
            self.note(|_| format!("-> interrupt {vector:#04x}"));
            let before = self.levels();
            self.strands.borrow_mut()[fiber].frames.push(Frame::Interrupt(vector));
            let end_of_interrupt = || {
                self.within(|_| {
                    self.stop_fine(Reach::Local);
                    let ended = self.cpu().apic.borrow_mut().end_of_interrupt();
                    ended.into_iter().for_each(|vector| self.end_line(vector));
                    // What follows is the exit: DPCs, and other threads.
                    self.strands.borrow_mut()[fiber].frames.pop();
                    self.note(|_| format!("<- interrupt {vector:#04x}"));
                })
            };
            cpu.interrupted.set(before.word as u8);
            self.inside.set(false);
            // SAFETY: the vector's class is above the CPU's, as the APIC model found, and this fiber stops here.
            unsafe { ke::entry::interrupt(self.port(), vector, end_of_interrupt) };
            self.inside.set(true);
            if self.dead.get() {
                return self.abandon();
            }
            self.check_levels(vector, before);
            self.cpu().interrupts_on.set(true);
        }
    }

    /// All CPUs wait and nothing is on its way: the end of the run, or a failure.
    fn nothing_can_happen(&self) {
        self.check_quiescent();
        let spinning = self.cpus.iter().any(|cpu| matches!(cpu.wait.get(), CpuWait::Spinning(_)));
        if spinning {
            self.fail_here(FaultKind::Deadlock, self.where_all_are());
        } else if !self.main_done.get() {
            self.fail_here(FaultKind::LostWakeup, self.where_all_are());
        }
        self.finished.set(true);
        self.pass(self.cpu().fiber.get());
    }

    /// What every CPU does and every thread waits for, in one sentence.
    fn where_all_are(&self) -> String {
        let strands = self.strands.borrow();
        let mut parts = Vec::new();
        for (n, cpu) in self.cpus.iter().enumerate() {
            let strand = &strands[cpu.fiber.get()];
            let name = thread_name(strand);
            match cpu.wait.get() {
                CpuWait::Halted => continue,
                CpuWait::Spinning(_) => parts.push(format!("CPU {n} ({name}) spins{}", last_point(strand.last))),
                CpuWait::Nothing | CpuWait::Yielding => {
                    parts.push(format!("CPU {n} runs {name}{}", last_point(strand.last)))
                }
            }
        }
        let on_cpu = |fiber| self.cpus.iter().any(|cpu| cpu.fiber.get() == fiber);
        for (fiber, strand) in strands.iter().enumerate() {
            if !strand.ended && strand.last.is_some() && !on_cpu(fiber) {
                parts.push(thread_and_place(strand));
            }
        }
        parts.join("; ")
    }
}
