//! What is swept: each sequence of instructions, and what it must have led to by itself.

use super::{
    msix::{MESSAGE_INTERVAL, Msix, ONE_MESSAGE},
    shot::{Counts, End, Runs, Shot},
    software::{connect, lock_of_class},
};
use alloc::{format, string::String, sync::Arc};
use core::hint;
use edu::Edu;
use framework::DeviceRef;
use hal_x86_64::{X86Hal, local_apic, time};
use ke::{
    At, Claim, Dirql, Dispatch, Interrupt, InterruptLock, Passive, ServiceRoutine, SpinLock, WorkItem, WorkRoutine,
    hal::Hal, irql,
};

/// The ceiling of the lock, between the classes of the shots.
pub const CEILING: u8 = 8;

/// What edu's status is raised with: a bit that its DPC sees and nobody waits for.
const NOBODYS: u32 = 0x200;

/// A sequence.
pub struct Sequence {
    pub name: &'static str,
    pub run: fn(&Stand, &Shot, &mut At<'_, Passive>),
    pub ends: &'static [End],
    /// Besides the shot, the sequence itself leads to one of these.
    pub leads_to: &'static [Effect],
    /// Whether the sequence ends only after the shot: it waits for it.
    pub waits: bool,
    /// What the sequence does to the connection of the shot's interrupt.
    pub connection: Connected,
    /// It is wrong on purpose: at some position the sweep must notice.
    pub is_wrong: bool,
}

/// Whether the shot's interrupt is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connected {
    /// All the time.
    Throughout,
    /// Until somewhere in the sequence: what the shot leads to may end before its ISR, or after it.
    Until,
    /// From somewhere in the sequence on: a shot before that is unexpected, and leads to nothing.
    From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The ISR and the DPC of an interrupt that the program raises.
    Software,
    /// A work item.
    WorkItem,
    /// The ISR of the edu device.
    Edu,
    /// The ISR and the DPC of an MSI-X message.
    Message,
}

pub const fn sequence(name: &'static str, run: fn(&Stand, &Shot, &mut At<'_, Passive>)) -> Sequence {
    let connection = Connected::Throughout;
    Sequence { name, run, ends: &End::ALL, leads_to: &[], waits: false, connection, is_wrong: false }
}

pub const SEQUENCES: &[Sequence] = &[
    sequence("spin_lock", |stand, _, at| drop(stand.spin.acquire(at))),
    sequence("interrupt_lock", |stand, _, at| drop(stand.lock.acquire(at))),
    sequence("synchronize", |stand, _, at| stand.lock.synchronize(at, |sections, _| *sections += 1)),
    Sequence {
        leads_to: &[Effect::Software],
        ..sequence("isr_dpc", |stand, _, _| X86Hal.send_vector(0, stand.software_vector))
    },
    Sequence {
        leads_to: &[Effect::Software],
        ..sequence("raise_under_lock", |stand, _, at| {
            stand.lock.synchronize(at, |_, _| X86Hal.send_vector(0, stand.software_vector));
        })
    },
    Sequence {
        leads_to: &[Effect::Edu],
        ..sequence("edu", |stand, _, at| {
            // A device that is gone interrupts nobody: the count of its interrupts tells.
            let _gone = stand.edu.with(at, |edu, at| edu.raise_unasked(at, NOBODYS));
        })
    },
    Sequence {
        leads_to: &[Effect::WorkItem],
        ..sequence("work_item", |stand, _, at| {
            stand.item.enqueue(at);
        })
    },
    Sequence {
        waits: true,
        ..sequence("block_wake", |_, shot, at| {
            // This thread uses no device, so nothing but the event ends the wait.
            let _gone = shot.done().wait(at);
        })
    },
    sequence("mask_unmask", |_, shot, at| shot.mask(at).unmask(at)),
    Sequence {
        ends: &[End::Dpc],
        leads_to: &[Effect::Message],
        ..sequence("msix_mask", |stand, _, at| {
            if let Some(msix) = &stand.msix {
                // A device that is gone sends nothing: the count of its messages tells.
                let _gone = msix.with(at, |msix, at| msix.raise_while_masked(at));
            }
        })
    },
    Sequence {
        ends: &[End::Dpc, End::WorkItem, End::PassiveIsr],
        connection: Connected::Until,
        ..sequence("disconnect", |_, shot, at| shot.disconnect(at))
    },
    Sequence {
        ends: &[End::Dpc, End::PassiveIsr],
        connection: Connected::From,
        ..sequence("connect", |_, shot, at| shot.reconnect(at))
    },
];

/// What the sequences work on.
pub struct Stand {
    pub spin: SpinLock<u32>,
    lock: InterruptLock<u32>,
    software: Arc<Interrupt<Software>>,
    software_vector: u8,
    /// Ends its interrupt too early.
    early: Arc<Interrupt<Software>>,
    pub early_vector: u8,
    item: WorkItem<Item>,
    edu: DeviceRef<Edu>,
    msix: Option<DeviceRef<Msix>>,
    /// The device's.
    messages: Arc<Counts>,
}

impl Stand {
    pub fn new(at: &mut At<'_, Passive>, edu: DeviceRef<Edu>, msix: Option<DeviceRef<Msix>>) -> Result<Self, String> {
        let lock: InterruptLock<u32> = lock_of_class(CEILING)?;
        let counts = Arc::new(Counts::default());
        let raised = |ends_early| Interrupt::new(Software { counts: counts.clone(), ends_early }, lock.clone());
        let (software, early) = (raised(false), raised(true));
        let software_vector = connect(at, &software, CEILING)?;
        let early_vector = connect(at, &early, CEILING)?;
        let item = WorkItem::new(Item(Counts::default()));
        let messages = match &msix {
            Some(msix) => msix.with(at, |msix, _| msix.counts().clone()).map_err(|status| format!("{status}"))?,
            None => Arc::default(),
        };
        let spin = SpinLock::new(0);
        Ok(Stand { spin, lock, software, software_vector, early, early_vector, item, edu, msix, messages })
    }

    pub fn end(self, at: &mut At<'_, Passive>) {
        self.software.disconnect(at);
        self.early.disconnect(at);
        self.item.flush(at);
    }

    /// Whether the machine has what `sequence` needs.
    pub fn has_what_it_takes(&self, sequence: &Sequence) -> bool {
        self.msix.is_some() || !sequence.leads_to.contains(&Effect::Message)
    }

    /// Before a shot and after the last one: lets pass what `sequence` needs of time since the one before.
    pub fn rest(&self, sequence: &Sequence) {
        let ticks = if sequence.leads_to.contains(&Effect::Message) { MESSAGE_INTERVAL } else { 0 };
        let until = time::tsc() + ticks;
        while time::tsc() < until {
            hint::spin_loop();
        }
    }

    pub fn reset(&self) {
        self.messages.reset();
        self.software.routine().counts.reset();
        self.item.routine().0.reset();
    }

    /// What the software-raised interrupt, the work item, and the message have done. Takes no lock.
    pub fn runs(&self) -> [Runs; 3] {
        [self.software.routine().counts.runs(), self.item.routine().0.runs(), self.messages.runs()]
    }

    /// What `sequence` must have made of them.
    pub fn expected(sequence: &Sequence) -> [Runs; 3] {
        let one_if = |effect| u32::from(sequence.leads_to.contains(&effect));
        let (software, item) = (one_if(Effect::Software), one_if(Effect::WorkItem));
        let message = if sequence.leads_to.contains(&Effect::Message) { ONE_MESSAGE } else { Runs::default() };
        [Runs { isrs: software, dpcs: software, ..Runs::default() }, Runs { ends: item, ..Runs::default() }, message]
    }

    /// How many interrupts the edu device's driver has seen.
    pub fn edu_count(&self, at: &mut At<'_, Passive>) -> u64 {
        self.edu.with(at, |edu, at| edu.counters(at).seen).unwrap_or(0)
    }
}

/// An interrupt that the program raises itself.
struct Software {
    counts: Arc<Counts>,
    ends_early: bool,
}

impl ServiceRoutine for Software {
    type State = u32;
    type Level = Dirql;
    type Context = ();

    fn service(&self, _: &(), _: &mut u32, this: &Interrupt<Self>, at: &mut At<'_, Dirql>) -> Claim {
        self.counts.isr_at_dirql(at.irql(), CEILING, || {
            if self.ends_early {
                local_apic::end_of_interrupt();
            }
            this.queue_dpc(at);
        });
        Claim::Mine
    }

    fn dpc(&self, _: &(), _: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        self.counts.dpc(at.irql());
    }

    fn work_item(&self, _: &(), _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "sweep, raised by software".into()
    }
}

struct Item(Counts);

impl WorkRoutine for Item {
    fn run(&self, at: &mut At<'_, Passive>) {
        self.0.end(at.irql(), irql::PASSIVE);
    }
}
