//! Sets of CPUs, of any size (KAFFINITY without its 64).

use alloc::vec::Vec;
use core::fmt;

/// A set of CPU numbers.
///
/// ```
/// use ke::CpuSet;
/// let set = CpuSet::of([0, 3, 200]);
/// assert!(set.contains(200) && !set.contains(1));
/// assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 200]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuSet {
    words: Vec<u64>,
}

impl CpuSet {
    /// The empty set.
    pub const fn new() -> Self {
        CpuSet { words: Vec::new() }
    }

    /// The set of `cpus`.
    pub fn of(cpus: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::new();
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }

    /// The CPUs `0..count`.
    pub fn all(count: u32) -> Self {
        Self::of(0..count)
    }

    /// Adds `cpu`.
    pub fn insert(&mut self, cpu: u32) {
        let word = cpu as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (cpu % 64);
    }

    /// Whether `cpu` is in the set.
    pub fn contains(&self, cpu: u32) -> bool {
        self.words.get(cpu as usize / 64).is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.words.len() as u32 * 64).filter(|&cpu| self.contains(cpu))
    }
}

impl fmt::Display for CpuSet {
    /// As ranges: `0-3,8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while cpus.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_prints_as_ranges() {
        assert_eq!(CpuSet::of([0, 1, 2, 3, 8, 200, 201]).to_string(), "0-3,8,200-201");
        assert_eq!(CpuSet::new().to_string(), "");
    }
}
