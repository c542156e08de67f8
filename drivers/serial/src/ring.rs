//! A queue of bytes of a fixed length: what an ISR can fill and empty without allocating.

/// Up to `N` bytes, first in, first out.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    /// Where the oldest byte is.
    first: usize,
    len: usize,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Ring::new()
    }
}

impl<const N: usize> Ring<N> {
    /// An empty one.
    pub const fn new() -> Self {
        Ring { bytes: [0; N], first: 0, len: 0 }
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `false`: there is no room, and the byte is not in.
    pub fn push(&mut self, byte: u8) -> bool {
        if self.len == N {
            return false;
        }
        self.bytes[(self.first + self.len) % N] = byte;
        self.len += 1;
        true
    }

    /// The oldest byte, if there is one.
    pub fn pop(&mut self) -> Option<u8> {
        let byte = (self.len > 0).then(|| self.bytes[self.first])?;
        self.first = (self.first + 1) % N;
        self.len -= 1;
        Some(byte)
    }

    /// Puts in as many of `bytes` as there is room for, and says how many.
    pub fn push_all(&mut self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|byte| self.push(**byte)).count()
    }

    /// Takes out as many as there are and `into` holds, and says how many.
    pub fn pop_all(&mut self, into: &mut [u8]) -> usize {
        let mut n = 0;
        while n < into.len()
            && let Some(byte) = self.pop()
        {
            into[n] = byte;
            n += 1;
        }
        n
    }
}
