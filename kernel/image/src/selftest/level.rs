//! The IRQL after everything.

use super::{
    Outcome,
    crew::{ensure, on_every_cpu},
};
use alloc::format;
use ke::{At, Passive};

/// The IRQL that a token reports is max(level word, CR8): 0 only if both are.
pub fn all_passive(at: &mut At<'_, Passive>) -> Outcome {
    on_every_cpu(at, |cpu, at| ensure(at.irql() == 0, || format!("a thread on CPU {cpu} runs at IRQL {}", at.irql())))
}
