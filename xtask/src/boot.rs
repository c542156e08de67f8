//! One boot: QEMU as our child, its console read line by line, its time limited.

use crate::{
    machine::Machine,
    status::Ending,
    symbols::{Backtrace, Symbols},
};
use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Who watches the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Nobody: it is only captured.
    Quiet,
    /// It is shown as it comes.
    Shown,
    /// It is shown, and the terminal's input goes to it.
    Interactive,
    /// It is only captured; when it prompts, this is typed at it, all at once.
    Typed(&'static str),
}

/// How the monitor asks for a command.
pub const PROMPT: &str = "dirql> ";

/// What a boot left behind.
#[derive(Debug)]
pub struct Outcome {
    pub ending: Ending,
    /// The console, with the functions of a backtrace after each of its frames.
    pub output: String,
    /// What QEMU itself said.
    pub complaints: String,
}

/// Boots `machine` and waits for its end, `limit` at most.
pub fn boot(
    qemu: &Path,
    machine: &Machine,
    symbols: &Symbols,
    console: Console,
    limit: Option<Duration>,
) -> Result<Outcome> {
    let mut command = Command::new(qemu);
    command.args(machine.arguments()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(match console {
        Console::Interactive => Stdio::inherit(),
        Console::Typed(_) => Stdio::piped(),
        Console::Quiet | Console::Shown => Stdio::null(),
    });
    let mut child = command.spawn().with_context(|| format!("{} could not be started", qemu.display()))?;
    let mut serial = child.stdout.take().context("QEMU's output was asked for and is missing")?;
    let mut errors = child.stderr.take().context("QEMU's messages were asked for and are missing")?;

    let mut to_type = if let Console::Typed(text) = console { child.stdin.take().zip(Some(text)) } else { None };

    let (sender, chunks) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = serial.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        // A pipe that breaks keeps what came before.
        errors.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    });

    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut transcript =
        Transcript { symbols, console, output: String::new(), line: Vec::new(), trace: Backtrace::default() };
    let timed_out = loop {
        let left = deadline.map_or(Duration::from_secs(3600), |end| end.saturating_duration_since(Instant::now()));
        match chunks.recv_timeout(left) {
            Ok(chunk) => {
                transcript.take(&chunk)?;
                if transcript.is_prompting()
                    && let Some((mut keyboard, text)) = to_type.take()
                {
                    // The machine takes it as fast as it can, which may be slower than it talks. If it ends before, its
                    // ending says so.
                    thread::spawn(move || keyboard.write_all(text.as_bytes()).ok());
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) if deadline.is_some_and(|end| Instant::now() >= end) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    let ending = if timed_out { end(&mut child, console)? } else { Ending::from_code(child.wait()?.code()) };
    for chunk in chunks {
        transcript.take(&chunk)?;
    }
    reader.join().ok();
    transcript.finish();
    Ok(Outcome { ending, output: transcript.output, complaints: complaints.join().unwrap_or_default() })
}

/// Ends a QEMU whose time is up.
fn end(child: &mut Child, console: Console) -> Result<Ending> {
    // It may have ended by itself this very moment.
    if let Some(status) = child.try_wait()? {
        return Ok(Ending::from_code(status.code()));
    }
    child.kill().context("QEMU's time is up but it could not be ended")?;
    child.wait()?;
    if console == Console::Interactive {
        // QEMU had the terminal in raw mode and could not put it back. If there is no `stty`, the user types `reset`.
        Command::new("stty").arg("sane").status().ok();
    }
    Ok(Ending::TimedOut)
}

/// The console as it comes, cut into lines.
struct Transcript<'a> {
    symbols: &'a Symbols,
    console: Console,
    output: String,
    line: Vec<u8>,
    trace: Backtrace,
}

impl Transcript<'_> {
    fn take(&mut self, chunk: &[u8]) -> Result<()> {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.show(part)?;
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim_end().to_owned();
                let frame = self.trace.frame(&line);
                self.output += &line;
                self.output.push('\n');
                for function in frame.map(|address| self.symbols.functions(address)).unwrap_or_default() {
                    let text = format!("       {function}\n");
                    self.show(text.as_bytes())?;
                    self.output += &text;
                }
            }
        }
        Ok(())
    }

    /// Whether the monitor waits for a command.
    fn is_prompting(&self) -> bool {
        self.line.ends_with(PROMPT.as_bytes())
    }

    fn show(&self, bytes: &[u8]) -> Result<()> {
        if matches!(self.console, Console::Shown | Console::Interactive) {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.output += &String::from_utf8_lossy(&std::mem::take(&mut self.line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot_with(commands: &str, limit: Option<Duration>) -> Outcome {
        boot_with_console(commands, Console::Quiet, limit)
    }

    fn boot_with_console(commands: &str, console: Console, limit: Option<Duration>) -> Outcome {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let executable = std::env::current_exe().expect("the test knows its own file");
        let symbols = Symbols::load(&executable, here).expect("the test has debug information");
        let machine = Machine { exec: Some(commands.into()), ..Machine::new(Path::new("kernel")) };
        boot(&here.join("tests/fake-qemu"), &machine, &symbols, console, limit).expect("it can be started")
    }

    #[test]
    fn the_console_is_kept_to_its_last_byte() {
        let outcome = boot_with("succeed", None);
        assert_eq!(outcome.ending, Ending::Success);
        assert_eq!(outcome.output, "edu#0: 479001600\nno line end");
    }

    #[test]
    fn a_failed_command_is_told_from_what_qemu_says() {
        let outcome = boot_with("fail", Some(Duration::from_secs(60)));
        assert_eq!(outcome.ending, Ending::CommandFailed);
        assert_eq!(outcome.output, "edu#9: there is no such device\n");
        assert_eq!(outcome.complaints, "a complaint\n");
    }

    #[test]
    fn what_is_to_be_typed_waits_for_the_prompt() {
        let outcome = boot_with_console("prompt", Console::Typed("one\ntwo\n"), Some(Duration::from_secs(60)));
        assert_eq!(outcome.output, "nothing was typed before\ndirql> one, then two\n");
    }

    #[test]
    fn a_hang_is_ended_when_its_time_is_up() {
        assert_eq!(boot_with("hang", Some(Duration::from_millis(500))).ending, Ending::TimedOut);
    }
}
