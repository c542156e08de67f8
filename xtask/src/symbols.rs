//! Addresses of the kernel as functions and source lines, and the part of the console output that has such addresses.

use addr2line::Loader;
use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};

/// The debug information of one kernel.
pub struct Symbols {
    loader: Loader,
    root: PathBuf,
}

impl Symbols {
    /// Reads the debug information of the ELF at `kernel`. Source paths are given relative to `root`.
    pub fn load(kernel: &Path, root: &Path) -> Result<Self> {
        let loader = Loader::new(kernel)
            .map_err(|error| anyhow!("{} has no debug information that can be read: {error}", kernel.display()))?;
        Ok(Symbols { loader, root: root.to_owned() })
    }

    /// The functions at `address`, the innermost inlined one first, as `function at file:line`. Empty if unknown.
    pub fn functions(&self, address: u64) -> Vec<String> {
        let mut found = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = match frame.function.as_ref().map(|function| function.demangle()) {
                    Some(Ok(name)) => name.into_owned(),
                    _ => "?".into(),
                };
                let place = match frame.location {
                    Some(addr2line::Location { file: Some(file), line, .. }) => {
                        format!("{}:{}", relative(file, &self.root), line.unwrap_or(0))
                    }
                    _ => "?".into(),
                };
                found.push(format!("{name} at {place}"));
            }
        }
        if found.is_empty()
            && let Some(symbol) = self.loader.find_symbol(address)
        {
            found.push(addr2line::demangle_auto(symbol.into(), None).into_owned());
        }
        found
    }
}

/// `file` as a reader of the workspace at `root` knows it.
fn relative(file: &str, root: &Path) -> String {
    match Path::new(file).strip_prefix(root) {
        Ok(inside) => inside.display().to_string(),
        Err(_) => match file.split_once("/library/") {
            Some((_, library)) if file.contains("rustc") => format!("library/{library}"),
            _ => file.into(),
        },
    }
}

/// Finds the frames of a bug check in the console output: lines `  #n 0xADDRESS` after one that begins
/// `*** BUG CHECK`.
#[derive(Default)]
pub struct Backtrace {
    in_bug_check: bool,
    /// The next frame holds the address of the instruction itself: a CPU exception or an interrupt came at it.
    exact: bool,
}

impl Backtrace {
    /// The address to look up for this line of output, if it is a frame. Most frames hold an address to return to, and
    /// the call is just before it.
    pub fn frame(&mut self, line: &str) -> Option<u64> {
        if let Some(kind) = line.strip_prefix("*** BUG CHECK ") {
            self.in_bug_check = true;
            self.exact = kind.starts_with("FAULT") || kind.starts_with("STACK_OVERFLOW");
        }
        if !self.in_bug_check {
            return None;
        }
        if line.starts_with("  -- ") {
            self.exact = true;
        }
        let (number, rest) = line.trim_start().strip_prefix('#')?.split_once(' ')?;
        number.parse::<u32>().ok()?;
        let digits = rest.trim_start().strip_prefix("0x")?;
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let address = u64::from_str_radix(&digits[..end], 16).ok()?;
        let exact = std::mem::take(&mut self.exact);
        Some(if exact { address } else { address.saturating_sub(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_a_bug_check_only() {
        let mut backtrace = Backtrace::default();
        assert_eq!(backtrace.frame("  #0 0xffffffff80201000"), None, "no bug check yet");
        assert_eq!(backtrace.frame("*** BUG CHECK PANIC: no"), None);
        assert_eq!(backtrace.frame("  IRQL 5 on CPU 0"), None);
        assert_eq!(backtrace.frame("  #0 0xffffffff80201000"), Some(0xffff_ffff_8020_0fff), "a return address");
        assert_eq!(backtrace.frame("  #12 0xffffffff80201000\r"), Some(0xffff_ffff_8020_0fff));
        assert_eq!(backtrace.frame("  #x 0xffffffff80201000"), None);
        assert_eq!(backtrace.frame("  #1 somewhere"), None);
    }

    #[test]
    fn an_exception_and_an_interrupt_tell_the_instruction_itself() {
        let mut backtrace = Backtrace::default();
        assert_eq!(backtrace.frame("*** BUG CHECK FAULT: page fault"), None);
        assert_eq!(backtrace.frame("  #0 0x1000"), Some(0x1000));
        assert_eq!(backtrace.frame("  #1 0x1000"), Some(0xfff));
        assert_eq!(backtrace.frame("  -- interrupt, served by \"edu\" --"), None);
        assert_eq!(backtrace.frame("  #2 0x1000"), Some(0x1000));
        assert_eq!(backtrace.frame("  #3 0x1000"), Some(0xfff));
    }

    #[test]
    fn paths_are_relative_to_the_workspace() {
        let root = Path::new("/home/someone/dirql");
        assert_eq!(relative("/home/someone/dirql/drivers/edu/src/lib.rs", root), "drivers/edu/src/lib.rs");
        assert_eq!(relative("/rustc/59807616/library/core/src/panicking.rs", root), "library/core/src/panicking.rs");
        assert_eq!(relative("/elsewhere/x.rs", root), "/elsewhere/x.rs");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_address_has_a_function_and_a_line() {
        fn landmark() {}
        let executable = std::env::current_exe().expect("the test knows its own file");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux lists a process's mappings");
        let first = maps.lines().find(|line| line.ends_with(&*executable.to_string_lossy())).expect("it is mapped");
        let base = u64::from_str_radix(first.split('-').next().expect("a mapping has a start"), 16).expect("in hex");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        let symbols = Symbols::load(&executable, root).expect("the test has debug information");

        let found = symbols.functions(landmark as *const () as u64 - base);
        let here = "::landmark at xtask/src/symbols.rs:";
        assert!(found.first().is_some_and(|text| text.contains(here)), "{found:?}");
    }
}
