//! A CPU's armed timers by deadline: an intrusive pairing heap. Arming is O(1), the next to expire O(log n) amortized;
//! nothing allocates.
//!
//! **Invariant:** a node is in at most one heap, and alive while it is. Lives under the heap's spin lock.

use crate::hal::HalRef;
use core::{
    ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// What an expiry does.
pub(crate) struct TimerKind {
    /// Called under the heap's lock, at DISPATCH, with the node's context, when the node has left the heap; it may only mark and
    /// wake.
    pub(crate) expire: unsafe fn(*const (), HalRef<'_>) -> Expiry,
    /// Called without the lock, at DISPATCH.
    pub(crate) run: unsafe fn(*const (), HalRef<'_>),
}

/// What remains to be done when a timer has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    Nothing,
    /// `run` is to be called.
    Run,
    /// The same, and the node goes back into the heap, before anybody else gets at it, with this deadline.
    RunAndRepeat(u64),
}

pub(crate) struct TimerNode {
    deadline: AtomicU64,
    armed: AtomicBool,
    child: AtomicPtr<TimerNode>,
    sibling: AtomicPtr<TimerNode>,
    /// The parent of a first child, else the left sibling.
    before: AtomicPtr<TimerNode>,
    pub(crate) context: AtomicPtr<()>,
    kind: AtomicPtr<TimerKind>,
}

impl TimerNode {
    pub(crate) const fn new(kind: &'static TimerKind) -> Self {
        TimerNode {
            deadline: AtomicU64::new(0),
            armed: AtomicBool::new(false),
            child: AtomicPtr::new(ptr::null_mut()),
            sibling: AtomicPtr::new(ptr::null_mut()),
            before: AtomicPtr::new(ptr::null_mut()),
            context: AtomicPtr::new(ptr::null_mut()),
            kind: AtomicPtr::new(ptr::from_ref(kind).cast_mut()),
        }
    }

    pub(crate) fn kind(&self) -> &'static TimerKind {
        // SAFETY: stored from such a reference, in `new` and `set_kind`.
        unsafe { &*self.kind.load(Relaxed) }
    }

    /// From the next expiry on.
    pub(crate) fn set_kind(&self, kind: &'static TimerKind) {
        self.kind.store(ptr::from_ref(kind).cast_mut(), Relaxed);
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Acquire)
    }

    fn due(&self) -> u64 {
        self.deadline.load(Relaxed)
    }
}

type Link = *mut TimerNode;

pub(crate) struct TimerHeap {
    root: Link,
}

// SAFETY: nodes in the heap are alive and may be used from any CPU.
unsafe impl Send for TimerHeap {}

impl TimerHeap {
    pub(crate) const fn new() -> Self {
        TimerHeap { root: ptr::null_mut() }
    }

    /// When the first node is due; `u64::MAX` when there is none.
    pub(crate) fn next_deadline(&self) -> u64 {
        // SAFETY: nodes in the heap are alive.
        unsafe { self.root.as_ref().map_or(u64::MAX, TimerNode::due) }
    }

    /// # Safety
    /// `node` is in no heap, and alive until it has expired or was removed.
    pub(crate) unsafe fn insert(&mut self, node: &TimerNode, deadline: u64) {
        node.deadline.store(deadline, Relaxed);
        node.armed.store(true, Relaxed);
        for link in [&node.child, &node.sibling, &node.before] {
            link.store(ptr::null_mut(), Relaxed);
        }
        self.root = merge(self.root, ptr::from_ref(node).cast_mut());
    }

    /// Takes the first node out if it is due at `now`.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<*const TimerNode> {
        if self.next_deadline() > now || self.root.is_null() {
            return None;
        }
        let first = self.root;
        // SAFETY: nodes in the heap are alive.
        unsafe {
            self.root = merge_all((*first).child.load(Relaxed));
            (*first).armed.store(false, Release);
        }
        Some(first)
    }

    /// Takes `node` out; it is in this heap.
    pub(crate) fn remove(&mut self, node: &TimerNode) {
        node.armed.store(false, Release);
        let children = merge_all(node.child.load(Relaxed));
        if ptr::eq(self.root, node) {
            self.root = children;
            return;
        }
        let (before, sibling) = (node.before.load(Relaxed), node.sibling.load(Relaxed));
        // SAFETY: nodes in the heap are alive, and every node but the root has one before it.
        unsafe {
            if ptr::eq((*before).child.load(Relaxed), node) {
                (*before).child.store(sibling, Relaxed);
            } else {
                (*before).sibling.store(sibling, Relaxed);
            }
            if let Some(sibling) = sibling.as_ref() {
                sibling.before.store(before, Relaxed);
            }
        }
        self.root = merge(self.root, children);
    }
}

/// One heap out of two; of equals the left one stays first.
fn merge(left: Link, right: Link) -> Link {
    if left.is_null() || right.is_null() {
        return if left.is_null() { right } else { left };
    }
    // SAFETY: nodes in a heap are alive.
    unsafe {
        let (top, below) = if (*right).due() < (*left).due() { (right, left) } else { (left, right) };
        let child = (*top).child.load(Relaxed);
        (*below).before.store(top, Relaxed);
        (*below).sibling.store(child, Relaxed);
        if let Some(child) = child.as_ref() {
            child.before.store(below, Relaxed);
        }
        (*top).child.store(below, Relaxed);
        (*top).sibling.store(ptr::null_mut(), Relaxed);
        (*top).before.store(ptr::null_mut(), Relaxed);
        top
    }
}

/// One heap out of a list of siblings: pairs left to right, then all right to left.
fn merge_all(mut first: Link) -> Link {
    let mut pairs: Link = ptr::null_mut();
    // SAFETY: nodes in a heap are alive; `sibling` chains the merged pairs, newest first.
    unsafe {
        while !first.is_null() {
            let second = (*first).sibling.load(Relaxed);
            let rest = second.as_ref().map_or(ptr::null_mut(), |second| second.sibling.load(Relaxed));
            let pair = merge(first, second);
            (*pair).sibling.store(pairs, Relaxed);
            (*pair).before.store(ptr::null_mut(), Relaxed);
            pairs = pair;
            first = rest;
        }
        let mut all: Link = ptr::null_mut();
        while !pairs.is_null() {
            let next = (*pairs).sibling.load(Relaxed);
            (*pairs).sibling.store(ptr::null_mut(), Relaxed);
            all = merge(pairs, all);
            pairs = next;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: TimerKind = TimerKind { expire: nothing, run: nothing_more };
    /// # Safety
    /// None.
    unsafe fn nothing(_: *const (), _: HalRef<'_>) -> Expiry {
        Expiry::Nothing
    }
    /// # Safety
    /// None.
    unsafe fn nothing_more(_: *const (), _: HalRef<'_>) {}

    /// Pseudo-random, but the same each time.
    fn deadlines(count: usize) -> Vec<u64> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 40
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn nodes_come_out_in_order_of_their_deadlines() {
        let nodes: Vec<TimerNode> = (0..300).map(|_| TimerNode::new(&NOTHING)).collect();
        let mut expected = deadlines(nodes.len());
        let mut heap = TimerHeap::new();
        for (node, deadline) in nodes.iter().zip(&expected) {
            // SAFETY: the nodes outlive the heap.
            unsafe { heap.insert(node, *deadline) };
        }
        expected.sort_unstable();
        assert_eq!(heap.next_deadline(), expected[0]);
        let mut seen = Vec::new();
        while let Some(node) = heap.take_due(u64::MAX) {
            // SAFETY: the nodes outlive the heap.
            seen.push(unsafe { (*node).due() });
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_removed_node_never_comes_out_and_the_others_do() {
        let nodes: Vec<TimerNode> = (0..200).map(|_| TimerNode::new(&NOTHING)).collect();
        let mut heap = TimerHeap::new();
        for (node, deadline) in nodes.iter().zip(deadlines(nodes.len())) {
            // SAFETY: the nodes outlive the heap.
            unsafe { heap.insert(node, deadline) };
        }
        assert!(heap.take_due(u64::MAX).is_some());
        for node in nodes.iter().step_by(3).filter(|node| node.is_armed()) {
            heap.remove(node);
        }
        let left = nodes.iter().filter(|node| node.is_armed()).count();
        let mut last = 0;
        for _ in 0..left {
            let node = heap.take_due(u64::MAX).expect("as many as are armed");
            // SAFETY: the nodes outlive the heap.
            let due = unsafe { (*node).due() };
            assert!(last <= due);
            last = due;
        }
        assert!(heap.take_due(u64::MAX).is_none());
    }

    #[test]
    fn nothing_is_due_before_its_deadline() {
        let node = TimerNode::new(&NOTHING);
        let mut heap = TimerHeap::new();
        // SAFETY: the node outlives the heap.
        unsafe { heap.insert(&node, 10) };
        assert!(heap.take_due(9).is_none());
        assert!(heap.take_due(10).is_some());
        assert_eq!(heap.next_deadline(), u64::MAX);
    }
}
