//! Commands that were typed at the monitor's prompt: what the console must then show.

use crate::{boot::PROMPT, console};
use anyhow::{Context, Result, ensure};

/// The console's serial port.
const PORT: &str = "serial#0";

/// Checks that `output` has the lines of `typed` behind its prompts, all of them and nothing between.
pub fn prompted(output: &str, typed: &str) -> Result<()> {
    let shown: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix(PROMPT)).collect();
    let typed: Vec<&str> = typed.lines().collect();
    ensure!(shown == typed, "at the prompt stands {shown:?}, and {typed:?} was typed");
    let prompts = output.matches(PROMPT).count();
    ensure!(prompts == typed.len(), "{prompts} prompts are in the output, {} at the beginning of a line", typed.len());
    Ok(())
}

/// Checks that the console's port has interrupted so often.
pub fn by_interrupt(output: &str, at_least: u64) -> Result<()> {
    let rows = console::table(output, "vector").context("`interrupts --json` printed no table")?;
    let row = rows.iter().find(|row| row["device"] == PORT).with_context(|| format!("{PORT} is not in the table"))?;
    let count = row["count"].as_u64().with_context(|| format!("an interrupt without its count: {row}"))?;
    ensure!(count >= at_least, "{PORT} has interrupted {count} times, it must {at_least} times");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_stands_behind_the_prompts() {
        let output = "booted\ndirql> one\nsaid\ndirql> two\n";
        assert!(prompted(output, "one\ntwo\n").is_ok());
        assert!(prompted(output, "one\ntwo\nthree\n").is_err(), "a command was lost");
        assert!(prompted("dirql> one\ndirql> twsaid\no\n", "one\ntwo\n").is_err(), "something came between");
        assert!(prompted("dirql> one\nsaiddirql> two\n", "one\n").is_err(), "a prompt came in the middle");
    }

    #[test]
    fn the_console_works_by_interrupt() {
        let output = "[{\"device\":\"serial#0\",\"vector\":96,\"count\":7}]\n";
        assert!(by_interrupt(output, 7).is_ok());
        assert!(by_interrupt(output, 8).is_err());
        assert!(by_interrupt("[{\"device\":\"edu#0\",\"vector\":96,\"count\":7}]\n", 1).is_err());
    }
}
