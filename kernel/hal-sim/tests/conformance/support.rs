//! What the cases are made of: a card that interrupts, an interrupt object that serves it, a line between them.

use hal_sim::{
    Device, Explorer, Granularity, LineInput, Setup, Stats,
    model::{BusAccess, Identity, Model, PciModel, Step},
};
use ke::{
    At, Claim, Dirql, Dispatch, Event, Interrupt, InterruptLock, IsrLevel, Line, Mode, Passive, ServiceRoutine,
    thread::{self, JoinHandle, ThreadOptions},
};
use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

/// The numbers of CPUs that a case is explored with.
pub const MACHINES: [usize; 3] = [1, 2, 3];

/// All schedules within the bound, for at most 250 ms, with more CPUs than two 100 ms; then it is said to be incomplete.
/// `DIRQL_SECONDS` is for more.
pub fn explorer(name: &str, cpus: usize) -> Explorer {
    let limit = Duration::from_millis(if cpus > 2 { 100 } else { 250 });
    Explorer::new(name).cpus(cpus).limit(limit).random(100)
}

/// At every `Hal` call.
pub fn fine(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) -> Stats {
    explorer(name, cpus).granularity(Granularity::Fine).run(setup)
}

/// At every call of the core.
pub fn coarse(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) -> Stats {
    explorer(name, cpus).run(setup)
}

/// `main` at every `Hal` call, while a device that has nothing to do with it interrupts each CPU.
pub fn disturbed(name: &str, cpus: usize, main: impl Fn(&mut At<'_, Passive>) + Clone + Send + 'static) -> Stats {
    fine(name, cpus, move |machine| {
        let main = main.clone();
        let cards: Vec<_> = (0..cpus as u32).map(|n| card_on(machine, GSI + n)).collect();
        machine.main(move |at| {
            let noise: Vec<_> = cards.into_iter().map(AtDirql::new).collect();
            for (n, sharer) in (0..).zip(&noise) {
                let line = line_at(at, GSI + n, Mode::LevelSensitive, n, VECTOR);
                sharer.join(at, &line);
                sharer.start(2);
            }
            main(at);
            for sharer in noise {
                sharer.finish(at);
                sharer.leave(at);
            }
        });
    })
}

pub fn spawn(
    at: &mut At<'_, Passive>,
    options: ThreadOptions,
    main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static,
) -> JoinHandle {
    thread::spawn(at, options, main).expect("no allocation fails here")
}

/// A device with one line and no bus: what it has to say is a number of events.
#[derive(Debug, Default)]
pub struct Card {
    /// Events that nobody has served: the line is asserted meanwhile.
    pub pending: u32,
    /// Events that it will have by itself.
    pub to_come: u32,
    /// So often it has another event when one is served.
    pub again: u32,
    /// It holds its line, and no register says so.
    pub stuck: bool,
}

impl Card {
    pub fn raise(&mut self, bus: &mut BusAccess<'_>) {
        self.pending += 1;
        bus.set_line(true);
    }

    /// An edge that does not wait to be served.
    pub fn pulse(&mut self, bus: &mut BusAccess<'_>) {
        bus.set_line(true);
        bus.set_line(false);
    }

    pub fn stick(&mut self, stuck: bool, bus: &mut BusAccess<'_>) {
        self.stuck = stuck;
        bus.set_line(stuck || self.pending > 0);
    }

    /// So many have been seen; no more of them are there if the card was silenced meanwhile.
    pub fn acknowledge(&mut self, events: u32, bus: &mut BusAccess<'_>) {
        self.pending = self.pending.saturating_sub(events);
        if self.again > 0 {
            self.again -= 1;
            self.pending += 1;
        }
        bus.set_line(self.pending > 0 || self.stuck);
    }
}

impl PciModel for Card {
    fn identity(&self) -> Identity {
        Identity::new(0x1234, 0x0003)
    }
}

impl Model for Card {
    fn read(&mut self, _: usize, _: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
        0
    }

    fn write(&mut self, _: usize, _: u64, _: usize, _: u64, _: &mut BusAccess<'_>) {}

    fn steps(&self, steps: &mut Vec<Step>) {
        if self.to_come > 0 {
            steps.push(Step::soon(0, "has an event"));
        }
    }

    fn step(&mut self, _: u32, bus: &mut BusAccess<'_>) {
        self.to_come -= 1;
        self.raise(bus);
    }

    fn interrupt_status(&self) -> u64 {
        self.pending.into()
    }
}

/// What the callbacks of one interrupt have seen. It is the context, alive while the interrupt is connected.
#[derive(Debug)]
pub struct Seen {
    card: Device<Card>,
    pub asked: AtomicU32,
    pub served: AtomicU32,
    /// Set by the DPC when so many have been served.
    expected: AtomicU32,
    pub done: Event,
}

impl<L> Default for Serving<L> {
    fn default() -> Self {
        Serving(PhantomData)
    }
}

/// Serves a [`Card`]: the ISR takes the events, the DPC tells.
pub struct Serving<L>(PhantomData<fn() -> L>);

impl<L: IsrLevel> ServiceRoutine for Serving<L> {
    type State = u32;
    type Level = L;
    type Context = Arc<Seen>;

    fn service(&self, seen: &Arc<Seen>, state: &mut u32, this: &Interrupt<Self>, at: &mut At<'_, L>) -> Claim {
        seen.asked.fetch_add(1, SeqCst);
        let pending = seen.card.access(|card, _| card.pending);
        if pending == 0 {
            return Claim::NotMine;
        }
        seen.card.access(|card, bus| card.acknowledge(pending, bus));
        *state += pending;
        seen.served.fetch_add(pending, SeqCst);
        this.queue_dpc(at);
        Claim::Mine
    }

    fn dpc(&self, seen: &Arc<Seen>, _: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        if seen.served.load(SeqCst) >= seen.expected.load(SeqCst) {
            seen.done.set(at);
        }
    }

    fn work_item(&self, _: &Arc<Seen>, _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "card".to_owned()
    }
}

/// A card and the interrupt that serves it.
pub struct Sharer<L: IsrLevel> {
    pub card: Device<Card>,
    pub interrupt: Arc<Interrupt<Serving<L>>>,
    pub seen: Arc<Seen>,
}

impl<L: IsrLevel> Sharer<L> {
    /// One whose own lock has settled on the class of [`VECTOR`].
    pub fn new(card: Device<Card>) -> Self {
        let lock = InterruptLock::new(0);
        lock.settle(VECTOR >> 4).expect("nobody has settled it");
        Self::with(card, lock)
    }

    pub fn with(card: Device<Card>, lock: InterruptLock<u32, L>) -> Self {
        let counters = || AtomicU32::new(0);
        let seen = Seen {
            card: card.clone(),
            asked: counters(),
            served: counters(),
            expected: counters(),
            done: Event::new(),
        };
        Sharer { card, interrupt: Interrupt::new(Serving::default(), lock), seen: Arc::new(seen) }
    }

    /// Joins `line`, which it shares.
    pub fn join(&self, at: &mut At<'_, Passive>, line: &Arc<Line>) {
        self.interrupt.connect_line(at, line, line.mode(), true, self.seen.clone()).expect("all of them share");
    }

    pub fn leave(&self, at: &mut At<'_, Passive>) {
        assert!(self.interrupt.disconnect(at).is_some(), "it was connected");
    }

    /// `events` more will come.
    pub fn expect(&self, events: u32) {
        self.seen.expected.fetch_add(events, SeqCst);
    }

    /// Lets the card have `events` by itself.
    pub fn start(&self, events: u32) {
        self.expect(events);
        self.card.access(|card, _| card.to_come += events);
    }

    /// Returns when all events so far have been served, each once.
    pub fn finish(&self, at: &mut At<'_, Passive>) {
        while self.served() < self.seen.expected.load(SeqCst) {
            self.seen.done.wait(at).expect("no device goes away here");
            self.seen.done.clear(at);
        }
        assert_eq!(self.served(), self.seen.expected.load(SeqCst));
    }

    pub fn served(&self) -> u32 {
        self.seen.served.load(SeqCst)
    }

    pub fn asked(&self) -> u32 {
        self.seen.asked.load(SeqCst)
    }
}

/// The line that the cards are on.
pub const GSI: u32 = 10;
/// Its vector.
pub const VECTOR: u8 = 0x51;

/// A card on the line `gsi`.
pub fn card_on(machine: &mut Setup, gsi: u32) -> Device<Card> {
    let card = machine.device(Card::default());
    machine.wire(&card, gsi);
    card
}

/// The line [`GSI`] on `cpu`.
pub fn line(at: &mut At<'_, Passive>, mode: Mode, cpu: u32) -> Arc<Line> {
    line_at(at, GSI, mode, cpu, VECTOR)
}

pub fn line_at(at: &mut At<'_, Passive>, gsi: u32, mode: Mode, cpu: u32, vector: u8) -> Arc<Line> {
    let source = LineInput::program(at, gsi, mode, cpu, vector);
    Line::new(cpu, vector, mode, Arc::new(source))
}

pub type AtDirql = Sharer<Dirql>;
pub type AtPassive = Sharer<Passive>;
