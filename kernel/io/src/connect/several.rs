//! CONNECT_LINE_BASED and CONNECT_MESSAGE_BASED: all interrupts of a device at once.

use super::{ConnectFailure, FullySpecified, Origin};
use crate::{Grant, MessageSource, PinSwitch};
use alloc::{sync::Arc, vec::Vec};
use ke::{At, CpuSet, Interrupt, InterruptLock, IsrLevel, Line, Mode, Passive, ServiceRoutine, irql::PASSIVE};

/// An interrupt that a device was assigned, programmed and masked (a translated CmResourceTypeInterrupt descriptor).
#[derive(Clone)]
pub enum InterruptResource {
    /// A message.
    Message {
        /// The CPU and vector that it was programmed for.
        grant: Grant,
        /// The message.
        source: Arc<MessageSource>,
    },
    /// A line.
    Line {
        /// The line.
        line: Arc<Line>,
        /// ShareDisposition: whether others may be on it.
        shared: bool,
        /// The pin that drives it, if the bus can switch that.
        pin: Option<Arc<PinSwitch>>,
    },
}

impl InterruptResource {
    fn is_message(&self) -> bool {
        matches!(self, Self::Message { .. })
    }

    fn irql(&self) -> u8 {
        match self {
            Self::Message { grant, .. } => grant.irql(),
            Self::Line { line, .. } => line.irql(),
        }
    }

    /// Everything that is to be stated to connect an interrupt to it. PASSIVE.
    pub fn fully_specified<R: ServiceRoutine>(&self, at: &mut At<'_, Passive>, synchronize_irql: u8) -> FullySpecified {
        let (vector, mode, share_vector, affinity, origin) = match self {
            Self::Message { grant, source } => {
                (grant.vector, Mode::Latched, false, CpuSet::of([grant.cpu]), Origin::Own(source.clone()))
            }
            // Another device may move the line at this moment, within its class.
            Self::Line { line, shared, .. } => {
                (line.vector(), line.mode(), *shared, CpuSet::all(at.cpu_count()), Origin::Line(line.clone()))
            }
        };
        let irql = if R::Level::PASSIVE { PASSIVE } else { vector >> 4 };
        FullySpecified { vector, irql, synchronize_irql, mode, share_vector, affinity, floating_save: false, origin }
    }

    /// Lets the device signal: the interrupt is connected. PASSIVE.
    pub fn switch_on(&self, at: &mut At<'_, Passive>) -> Result<(), crate::Error> {
        match self {
            Self::Message { source, .. } => source.switch_on(at),
            Self::Line { pin: Some(pin), .. } => pin.switch_on(at),
            Self::Line { pin: None, .. } => Ok(()),
        }
    }

    /// Undoes [`Self::switch_on`]: the interrupt is about to be disconnected. PASSIVE.
    pub fn switch_off(&self, at: &mut At<'_, Passive>) -> Result<(), crate::Error> {
        match self {
            Self::Message { source, .. } => source.switch_off(at),
            Self::Line { pin: Some(pin), .. } => pin.switch_off(at),
            Self::Line { pin: None, .. } => Ok(()),
        }
    }
}

/// The locks of several interrupts of one handler type.
pub enum Locks<'a, R: ServiceRoutine> {
    /// No lock given: each interrupt has its own, with this state behind it.
    Each(&'a mut dyn FnMut(u16) -> R::State),
    /// One for all, which may have other members.
    Shared(InterruptLock<R::State, R::Level>),
}

/// What line `n`, or message `n`, is to be served by, and with what context.
pub type Make<'a, R> = &'a mut dyn FnMut(u16) -> (R, <R as ServiceRoutine>::Context);

/// All lines of a device, one ISR (IO_CONNECT_INTERRUPT_LINE_BASED_PARAMETERS).
pub struct LineBased<'a> {
    /// What the device was assigned: lines, no messages.
    pub resources: &'a [InterruptResource],
    /// At least so high; PASSIVE leaves it to the resources.
    pub synchronize_irql: u8,
}

impl LineBased<'_> {
    /// Connects all lines or none. PASSIVE.
    #[track_caller]
    pub fn connect<R: ServiceRoutine>(
        &self,
        at: &mut At<'_, Passive>,
        locks: Locks<'_, R>,
        make: Make<'_, R>,
    ) -> Result<Connected<R>, ConnectFailure> {
        let messages = self.resources.iter().filter(|each| each.is_message()).count() as u16;
        if messages > 0 {
            return Err(ConnectFailure::HasMessages { messages });
        }
        connect_all(at, self.resources, self.synchronize_irql, locks, make)
    }
}

/// All messages of a device, each with an ISR of its own; or its lines (IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS).
pub struct MessageBased<'a> {
    /// What the device was assigned.
    pub resources: &'a [InterruptResource],
    /// At least so high; PASSIVE leaves it to the resources.
    pub synchronize_irql: u8,
}

/// How a message-based connect came out (the Version that IoConnectInterruptEx returns).
pub enum Version<M: ServiceRoutine, F: ServiceRoutine> {
    /// By messages.
    Messages(Connected<M>),
    /// The device has no messages: its lines, with the fallback ISR.
    Lines(Connected<F>),
}

impl MessageBased<'_> {
    /// Connects all messages or none; where there are only lines, those, by `fallback`. PASSIVE.
    #[track_caller]
    pub fn connect<M: ServiceRoutine, F: ServiceRoutine>(
        &self,
        at: &mut At<'_, Passive>,
        (locks, make): (Locks<'_, M>, Make<'_, M>),
        fallback: Option<(Locks<'_, F>, Make<'_, F>)>,
    ) -> Result<Version<M, F>, ConnectFailure> {
        let messages: Vec<_> = self.resources.iter().filter(|each| each.is_message()).cloned().collect();
        if !messages.is_empty() {
            return connect_all(at, &messages, self.synchronize_irql, locks, make).map(Version::Messages);
        }
        let (locks, make) = fallback.ok_or(ConnectFailure::NoInterrupt)?;
        let lines = LineBased { resources: self.resources, synchronize_irql: self.synchronize_irql };
        lines.connect(at, locks, make).map(Version::Lines)
    }
}

/// The interrupts of one connect, in the order of the resources (IO_INTERRUPT_MESSAGE_INFO). They stay connected until
/// [`Self::disconnect`].
#[must_use = "connected until `disconnect`"]
pub struct Connected<R: ServiceRoutine> {
    interrupts: Vec<(Arc<Interrupt<R>>, InterruptResource)>,
    unified_irql: u8,
}

impl<R: ServiceRoutine> Connected<R> {
    /// Interrupt `n`.
    pub fn get(&self, n: u16) -> Option<&Arc<Interrupt<R>>> {
        self.interrupts.get(usize::from(n)).map(|(interrupt, _)| interrupt)
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        self.interrupts.len() as u16
    }

    /// The synchronize IRQL of all of them.
    pub fn unified_irql(&self) -> u8 {
        self.unified_irql
    }

    /// IoDisconnectInterruptEx: the last first. When it returns, no callback of theirs runs or will run. Gives the contexts
    /// back, in the order of the resources; an error of the device does not stop it. PASSIVE.
    #[track_caller]
    pub fn disconnect(self, at: &mut At<'_, Passive>) -> (Vec<R::Context>, Result<(), crate::Error>) {
        let mut told = Ok(());
        let mut contexts = Vec::with_capacity(self.interrupts.len());
        for (interrupt, resource) in self.interrupts.into_iter().rev() {
            told = told.and(resource.switch_off(at));
            contexts.extend(interrupt.disconnect(at));
        }
        contexts.reverse();
        (contexts, told)
    }
}

fn connect_all<R: ServiceRoutine>(
    at: &mut At<'_, Passive>,
    resources: &[InterruptResource],
    at_least: u8,
    mut locks: Locks<'_, R>,
    make: Make<'_, R>,
) -> Result<Connected<R>, ConnectFailure> {
    let highest = resources.iter().map(InterruptResource::irql).max().ok_or(ConnectFailure::NoInterrupt)?;
    // A passive-level ISR runs at PASSIVE whatever the resource's class; asked for higher, the connect below refuses.
    let needed = if R::Level::PASSIVE { at_least } else { highest.max(at_least) };
    let unified_irql = match &locks {
        // It has members elsewhere: what was settled for them holds for these, or is too low, as the connect finds.
        Locks::Shared(lock) => lock.settled_ceiling().map_or(needed, |ceiling| ceiling.max(needed)),
        Locks::Each(_) => needed,
    };
    let mut connected = Connected { interrupts: Vec::with_capacity(resources.len()), unified_irql };
    for (n, resource) in (0..).zip(resources) {
        let (routine, context) = make(n);
        let lock = match &mut locks {
            Locks::Each(state) => InterruptLock::new(state(n)),
            Locks::Shared(lock) => lock.clone(),
        };
        let interrupt = Interrupt::new(routine, lock);
        let stated = resource.fully_specified::<R>(at, unified_irql);
        let done = stated.connect(at, &interrupt, context).and_then(|()| {
            let on = resource.switch_on(at);
            if on.is_err() {
                drop(interrupt.disconnect(at));
            }
            Ok(on?)
        });
        if let Err(error) = done {
            // What the device says to being switched off is not worse than what is being returned.
            let _ = connected.disconnect(at);
            return Err(error);
        }
        connected.interrupts.push((interrupt, resource.clone()));
    }
    Ok(connected)
}
