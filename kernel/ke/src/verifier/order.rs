//! The order in which locks are taken, as a graph: under which lock which other one was taken, and where.
//!
//! A cycle means that threads of execution that take the locks at the same time wait for each other, even if today they did
//! not (lockdep's idea). Any IRQL: nothing here allocates or spins.
//!
//! **Invariant:** an edge is entered before a path back is looked for: of two that are entered at once, each half of a cycle, one
//! is found by the other.

use super::site::Site;
use alloc::boxed::Box;
use core::{
    fmt,
    sync::atomic::{
        AtomicPtr, AtomicU32, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        fence,
    },
};

/// So many edges are remembered; then the oldest is forgotten.
const MOST_EDGES: usize = 1024;
/// So many locks are looked at in search of a way back.
const MOST_VISITED: usize = 64;
/// So many edges of a cycle are reported.
const MOST_STEPS: usize = 6;

/// A lock, and where it was taken.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) id: u32,
    pub(crate) site: Site,
}

/// `to` was taken under `from`. Empty while `from` is 0.
struct Edge {
    from: AtomicU32,
    to: AtomicU32,
    from_site: AtomicPtr<()>,
    to_site: AtomicPtr<()>,
}

pub(crate) struct Order {
    edges: Box<[Edge]>,
    /// How many were ever entered.
    entered: AtomicUsize,
}

/// Locks in a circle, each step a lock and the one that was taken under it.
#[derive(Clone, Copy)]
pub(crate) struct Cycle {
    steps: [Option<(Taken, Taken)>; MOST_STEPS],
}

impl Order {
    pub(crate) fn new() -> Self {
        let edge = |_| Edge {
            from: AtomicU32::new(0),
            to: AtomicU32::new(0),
            from_site: AtomicPtr::default(),
            to_site: AtomicPtr::default(),
        };
        Order { edges: (0..MOST_EDGES).map(edge).collect(), entered: AtomicUsize::new(0) }
    }

    /// How many are remembered, and how many forgotten.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let entered = self.entered.load(Relaxed);
        (entered.min(MOST_EDGES), entered.saturating_sub(MOST_EDGES))
    }

    /// `to` is taken under `from`. `Some`: elsewhere it is the other way round.
    pub(crate) fn note(&self, from: Taken, to: Taken) -> Option<Cycle> {
        if self.edges().any(|(known, under)| (known.id, under.id) == (from.id, to.id)) {
            return None;
        }
        let slot = &self.edges[self.entered.fetch_add(1, AcqRel) % MOST_EDGES];
        slot.from.store(0, Relaxed);
        slot.to.store(to.id, Release);
        slot.from_site.store(from.site.word().cast_mut(), Relaxed);
        slot.to_site.store(to.site.word().cast_mut(), Relaxed);
        slot.from.store(from.id, Release);
        fence(SeqCst);
        self.path(to.id, from.id).map(|mut cycle| {
            cycle.steps[0] = Some((from, to));
            cycle
        })
    }

    fn edges(&self) -> impl Iterator<Item = (Taken, Taken)> {
        self.numbered().map(|(_, edge)| edge)
    }

    /// Each with its place.
    fn numbered(&self) -> impl Iterator<Item = (u16, (Taken, Taken))> {
        let entered = self.entered.load(Acquire).min(MOST_EDGES);
        (0..).zip(&self.edges[..entered]).filter_map(|(place, edge)| Some((place, edge.read()?)))
    }

    /// The shortest way from `start` to `end`, its first steps.
    fn path(&self, start: u32, end: u32) -> Option<Cycle> {
        let mut reached = [Reached { id: start, by: 0, from: 0 }; MOST_VISITED];
        let (mut next, mut count) = (0, 1);
        while next < count {
            let here = reached[next].id;
            for (by, (_, to)) in self.numbered().filter(|(_, (from, _))| from.id == here) {
                if count == MOST_VISITED || reached[..count].iter().any(|known| known.id == to.id) {
                    continue;
                }
                reached[count] = Reached { id: to.id, by, from: next as u8 };
                if to.id == end {
                    return Some(self.way_to(&reached, count));
                }
                count += 1;
            }
            next += 1;
        }
        None
    }

    /// The edges that led to the one reached as number `last`; of a long way, those next to it.
    fn way_to(&self, reached: &[Reached; MOST_VISITED], last: usize) -> Cycle {
        let mut steps = [None; MOST_STEPS];
        let mut at = last;
        // The last place is for the edge that closes the circle.
        for step in &mut steps[..MOST_STEPS - 1] {
            if at == 0 {
                break;
            }
            *step = self.edges[usize::from(reached[at].by)].read();
            at = usize::from(reached[at].from);
        }
        steps.reverse();
        Cycle { steps }
    }
}

/// A lock that the search has come to.
#[derive(Clone, Copy)]
struct Reached {
    id: u32,
    /// The place of the edge that led there, and which of those reached before it led from.
    by: u16,
    from: u8,
}

impl Edge {
    fn read(&self) -> Option<(Taken, Taken)> {
        let from = self.from.load(Acquire);
        let (from_site, to_site) = (self.from_site.load(Relaxed), self.to_site.load(Relaxed));
        let whole = from != 0 && !from_site.is_null() && !to_site.is_null();
        // SAFETY: not null, so stored by `note`.
        let site = |word: *mut ()| unsafe { Site::from_word(word) };
        let to = self.to.load(Relaxed);
        whole.then(|| (Taken { id: from, site: site(from_site) }, Taken { id: to, site: site(to_site) }))
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", super::name_of(self.id, self.site), self.site)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (from, to)) in self.steps.iter().flatten().enumerate() {
            let (separator, place) = if n == 0 { ("", "here") } else { ("; ", "elsewhere") };
            write!(f, "{separator}{place} {from} and under it {to}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::panic::Location;

    #[track_caller]
    fn lock(id: u32) -> Taken {
        Taken { id, site: Site::line(Location::caller()) }
    }

    /// Whether `from` before `to` closes a circle.
    fn closes(order: &Order, from: u32, to: u32) -> bool {
        order.note(lock(from), lock(to)).is_some()
    }

    #[test]
    fn one_order_is_no_circle_and_is_remembered_once() {
        let order = Order::new();
        for (from, to) in [(1, 2), (2, 3), (1, 3), (1, 2), (3, 4)] {
            assert!(!closes(&order, from, to));
        }
        assert_eq!(order.counts(), (4, 0));
    }

    #[test]
    fn the_other_order_is_a_circle_over_any_number_of_locks() {
        for last in [2, 3, 20] {
            let order = Order::new();
            assert!((1..last).all(|n| !closes(&order, n, n + 1)));
            assert!(closes(&order, last, 1), "{last}");
        }
    }

    #[test]
    fn a_circle_is_told_with_both_sides_lines() {
        let order = Order::new();
        let line = line!();
        let (a, b) = (lock(1), lock(2));
        assert!(order.note(a, b).is_none());
        let (c, d) = (lock(2), lock(1));
        let told = order.note(c, d).expect("the other order").to_string();
        let [first, second] = [line + 1, line + 3].map(|line| format!("order.rs:{line}:"));
        let (here, elsewhere) = told.split_once("; elsewhere").expect("two steps");
        assert_eq!((here.matches(&second).count(), elsewhere.matches(&first).count()), (2, 2), "{told}");
    }

    #[test]
    fn a_long_circle_is_told_in_part() {
        let order = Order::new();
        assert!((1..30).all(|n| !closes(&order, n, n + 1)));
        let told = order.note(lock(30), lock(1)).expect("a circle").to_string();
        assert_eq!(told.matches("elsewhere").count(), MOST_STEPS - 1, "{told}");
    }

    #[test]
    fn the_oldest_is_forgotten_for_the_newest() {
        let order = Order::new();
        let most = MOST_EDGES as u32;
        assert!((1..=most).all(|n| !closes(&order, 10_000 * n, 10_000 * n + 1)));
        assert_eq!(order.counts(), (MOST_EDGES, 0));
        assert!(closes(&order, 20_001, 20_000), "the second is known, and this takes the place of the first");
        assert_eq!(order.counts(), (MOST_EDGES, 1));
        assert!(!closes(&order, 10_001, 10_000), "the first is forgotten");
        assert!(closes(&order, 10_000 * most + 1, 10_000 * most), "the last is known");
    }
}
