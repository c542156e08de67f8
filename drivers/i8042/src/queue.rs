//! A queue of a fixed length, which an ISR can fill without allocating.

/// Up to `N` values, first in, first out, and how many found no room.
#[derive(Debug)]
pub struct Queue<T, const N: usize> {
    values: [Option<T>; N],
    /// Where the oldest one is.
    first: usize,
    len: usize,
    dropped: u64,
}

impl<T: Copy, const N: usize> Default for Queue<T, N> {
    fn default() -> Self {
        Queue { values: [None; N], first: 0, len: 0, dropped: 0 }
    }
}

impl<T: Copy, const N: usize> Queue<T, N> {
    /// Puts `value` in, or counts it as dropped.
    pub fn push(&mut self, value: T) {
        if self.len == N {
            self.dropped += 1;
            return;
        }
        self.values[(self.first + self.len) % N] = Some(value);
        self.len += 1;
    }

    /// Takes the oldest one out.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.values[self.first].take()?;
        self.first = (self.first + 1) % N;
        self.len -= 1;
        Some(value)
    }

    /// How many found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
