//! Which callbacks may run: of an interrupt until its teardown is over, and a DPC, work item or timer no more often than it
//! was queued.
//!
//! **Invariant:** an insertion is counted before the core does it, what was refused or taken back after it did so, and a
//! callback when it starts. So a correct core is never accused, whatever runs in between.

use crate::{fault::FaultKind, machine::Machine, strand::Frame};
use ke::hal::Point;
use std::collections::{HashMap, HashSet};

/// What is known about the core's objects, by their addresses.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    /// Interrupts whose teardown is over.
    disconnected: HashSet<usize>,
    /// Interrupts whose callbacks' levels the verifier looks at.
    verified: HashSet<usize>,
    /// How often each may still run.
    queued: HashMap<(Kind, usize), u32>,
}

/// Callbacks that somebody queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Dpc,
    WorkItem,
    Timer,
}

impl Machine {
    /// A callback begins or ends, or whether one may has changed. `false`: `what` is about to happen, or is something else.
    pub(crate) fn note_callback(&self, what: Point, object: usize) -> bool {
        match what {
            Point::IsrStart => self.starts("ISR", None, what, object),
            Point::CallbackStart => self.starts("callback", None, what, object),
            Point::DpcStart => self.starts("DPC", Some(Kind::Dpc), what, object),
            Point::WorkItemStart => self.starts("work item", Some(Kind::WorkItem), what, object),
            Point::TimerStart => self.starts("timer", Some(Kind::Timer), what, object),
            Point::IsrMine
            | Point::IsrNotMine
            | Point::CallbackEnd
            | Point::DpcEnd
            | Point::WorkItemEnd
            | Point::TimerEnd => self.ends(what, object),
            Point::DpcUnqueued => self.unqueue(Kind::Dpc, object),
            Point::WorkItemUnqueued => self.unqueue(Kind::WorkItem, object),
            Point::TimerUnqueued => self.unqueue(Kind::Timer, object),
            Point::Disconnected => self.is_disconnected(object),
            Point::Connect => {
                self.callbacks.borrow_mut().disconnected.remove(&object);
                return false;
            }
            Point::Verified => _ = self.callbacks.borrow_mut().verified.insert(object),
            Point::QueueDpc => self.queue(Kind::Dpc, object),
            Point::QueueWorkItem => self.queue(Kind::WorkItem, object),
            Point::StartTimer => self.queue(Kind::Timer, object),
            _ => return false,
        }
        !matches!(what, Point::QueueDpc | Point::QueueWorkItem | Point::StartTimer)
    }

    fn starts(&self, name: &'static str, kind: Option<Kind>, what: Point, object: usize) {
        if self.dead.get() {
            return;
        }
        if self.callbacks.borrow().disconnected.contains(&object) {
            let text = format!("the {name} of an interrupt starts after its teardown");
            return self.fail_here(FaultKind::UnexpectedInterrupt, text);
        }
        if kind.is_some_and(|kind| !self.unqueue_one(kind, object)) {
            return self.fail_here(FaultKind::NotQueued, format!("a {name} runs more often than it was queued"));
        }
        self.begin_callback(name, object);
        self.note(|recorder| format!("{what:?} #{}", recorder.object(object)));
    }

    fn ends(&self, what: Point, object: usize) {
        if !self.dead.get() {
            self.note(|recorder| format!("{what:?} #{}", recorder.object(object)));
            self.end_callback(what == Point::IsrMine);
        }
    }

    /// The teardown of an interrupt is over: nothing of it runs.
    fn is_disconnected(&self, object: usize) {
        if self.dead.get() {
            return;
        }
        let name = |frame: &Frame| match frame {
            Frame::Callback { what, object: of, .. } if *of == object => Some(*what),
            _ => None,
        };
        let running = self.strands.borrow().iter().find_map(|strand| strand.frames.iter().find_map(name));
        if let Some(name) = running {
            let text = format!("the {name} of an interrupt still runs after its teardown");
            return self.fail_here(FaultKind::UnexpectedInterrupt, text);
        }
        let mut callbacks = self.callbacks.borrow_mut();
        callbacks.verified.remove(&object);
        callbacks.disconnected.insert(object);
    }

    /// Whether the verifier looks at the levels of the callbacks of `object`, right after they have ended.
    pub(crate) fn is_verified(&self, object: usize) -> bool {
        self.callbacks.borrow().verified.contains(&object)
    }

    fn queue(&self, kind: Kind, object: usize) {
        *self.callbacks.borrow_mut().queued.entry((kind, object)).or_default() += 1;
    }

    fn unqueue(&self, kind: Kind, object: usize) {
        if !self.dead.get() && !self.unqueue_one(kind, object) {
            self.fail_here(FaultKind::NotQueued, "something was taken back more often than it was queued".to_owned());
        }
    }

    /// `false`: it was not queued.
    fn unqueue_one(&self, kind: Kind, object: usize) -> bool {
        match self.callbacks.borrow_mut().queued.get_mut(&(kind, object)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Explorer, machine};
    use ke::hal::Hal;
    use std::panic::Location;

    /// What a core does that tells `points` about one object, and does none of it.
    fn core(points: &[Point]) -> Result<(), FaultKind> {
        let points = points.to_vec();
        let explorer = Explorer::new("planted in the core").bound(0).random(0);
        let outcome = explorer.explore(move |machine| {
            let points = points.clone();
            machine.main(move |_| {
                for point in points {
                    let tell = |machine: &Machine| machine.port().point(point, 0x1000, Location::caller());
                    machine::with_current(tell).expect("this runs on the machine");
                }
            });
        });
        outcome.map(drop).map_err(|failure| failure.kind())
    }

    #[test]
    fn every_callback_after_the_teardown_is_caught() {
        use Point::*;
        assert_eq!(core(&[Connect, IsrStart, IsrNotMine, Disconnected, Connect, IsrStart, IsrNotMine]), Ok(()));
        let late: [&[Point]; 4] = [
            &[Connect, Disconnected, IsrStart],
            &[Connect, QueueDpc, Disconnected, DpcStart],
            &[Connect, QueueWorkItem, Disconnected, WorkItemStart],
            &[Connect, Disconnected, CallbackStart],
        ];
        for points in late {
            assert_eq!(core(points), Err(FaultKind::UnexpectedInterrupt), "{points:?}");
        }
    }

    #[test]
    fn a_callback_that_the_teardown_did_not_wait_for_is_caught() {
        use Point::*;
        let running: [&[Point]; 4] = [
            &[Connect, IsrStart, Disconnected],
            &[Connect, QueueDpc, DpcStart, Disconnected],
            &[Connect, QueueWorkItem, WorkItemStart, Disconnected],
            &[Connect, CallbackStart, Disconnected],
        ];
        for points in running {
            assert_eq!(core(points), Err(FaultKind::UnexpectedInterrupt), "{points:?}");
        }
    }

    #[test]
    fn what_runs_more_often_than_it_was_queued_is_caught() {
        use Point::*;
        for [queue, start, end, back] in [
            [QueueDpc, DpcStart, DpcEnd, DpcUnqueued],
            [QueueWorkItem, WorkItemStart, WorkItemEnd, WorkItemUnqueued],
            [StartTimer, TimerStart, TimerEnd, TimerUnqueued],
        ] {
            assert_eq!(core(&[queue, queue, back, start, end]), Ok(()));
            assert_eq!(core(&[start]), Err(FaultKind::NotQueued));
            assert_eq!(core(&[queue, start, end, start]), Err(FaultKind::NotQueued));
            assert_eq!(core(&[queue, back, start]), Err(FaultKind::NotQueued));
            assert_eq!(core(&[queue, back, back]), Err(FaultKind::NotQueued));
        }
    }
}
