//! A boot whose windows are traced: QEMU's machine protocol switches the instruction log on and off when the kernel
//! asks for it on its console. The other half is `kernel/image/src/bench/window.rs`.

use super::trace;
use crate::{machine::Machine, setup::Qemu, status::Ending};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// What one boot gave.
#[derive(Debug, Default)]
pub struct Recording {
    /// The instructions that ran while each window was open, some before and after it included.
    pub windows: Vec<(String, Vec<u64>)>,
    /// Lines `BENCH <row> <figure>`: what the kernel has measured by its own clock.
    pub stated: Vec<(String, f64)>,
}

impl Recording {
    /// The trace of a window.
    pub fn window(&self, name: &str) -> Result<&[u64]> {
        let found = self.windows.iter().find(|(window, _)| window == name);
        found.map(|(_, trace)| &trace[..]).with_context(|| format!("the kernel did not open the window {name}"))
    }
}

/// Boots `machine`, traces the windows that its kernel opens, and waits for its end, `limit` at most.
pub fn record(qemu: &Qemu, machine: &Machine, limit: Duration) -> Result<Recording> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut child = Running(
        Command::new(&qemu.program)
            .args(machine.arguments())
            .args(["-qmp", &format!("tcp:{}", listener.local_addr()?)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("{} could not be started", qemu.program.display()))?,
    );
    let deadline = Instant::now() + limit;
    let mut control = Control::accept(&listener, &mut child.0, deadline)?;
    let keyboard = child.0.stdin.take().context("QEMU's input was asked for and is missing")?;
    let console = child.0.stdout.take().context("QEMU's output was asked for and is missing")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });

    let mut recorder = Recorder { keyboard, log: LogFile::new(), recording: Recording::default() };
    let mut output = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                recorder.obey(line.trim_end(), &mut control)?;
                output += &line;
                output.push('\n');
            }
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("{output}the measuring boot took longer than {limit:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    let ending = Ending::from_code(child.0.wait()?.code());
    if ending != Ending::Success {
        bail!("{output}the measuring boot failed: {ending}");
    }
    Ok(recorder.recording)
}

/// QEMU, ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended by itself, which is what was wanted.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Does what the kernel asks for.
struct Recorder {
    keyboard: ChildStdin,
    log: LogFile,
    recording: Recording,
}

impl Recorder {
    fn obey(&mut self, line: &str, control: &mut Control) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["TRACE", _] => {
                control.start_log(&self.log)?;
                self.go_on()
            }
            ["DONE", window] => {
                control.stop_log()?;
                self.recording.windows.push((window.into(), trace::parse(&self.log.take()?)));
                self.go_on()
            }
            ["BENCH", row, figure] => {
                let figure = figure.parse().with_context(|| format!("the kernel printed a wrong figure: {line}"))?;
                self.recording.stated.push((row.into(), figure));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The kernel waits for any byte.
    fn go_on(&mut self) -> Result<()> {
        self.keyboard.write_all(b"\n").and_then(|()| self.keyboard.flush()).context("QEMU takes no input any more")
    }
}

/// Where QEMU logs; removed in the end.
struct LogFile(PathBuf);

impl LogFile {
    fn new() -> Self {
        LogFile(std::env::temp_dir().join(format!("dirql-bench-{}.log", std::process::id())))
    }

    fn take(&self) -> Result<String> {
        let text = fs::read_to_string(&self.0).context("QEMU's log cannot be read")?;
        fs::remove_file(&self.0)?;
        Ok(text)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // It is there only when a recording broke off.
        fs::remove_file(&self.0).ok();
    }
}

/// The connection to QEMU's machine protocol (QMP).
struct Control {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    /// The command of this QEMU that makes blocks one instruction long.
    one_by_one: &'static str,
}

impl Control {
    /// Waits until QEMU connects.
    fn accept(listener: &TcpListener, child: &mut Child, deadline: Instant) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if let Some(status) = child.try_wait()? {
                        bail!("QEMU ended at once: {status}");
                    }
                    if Instant::now() >= deadline {
                        bail!("QEMU does not connect to be controlled");
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now())))?;
        let answers = BufReader::new(stream.try_clone()?);
        let mut control = Control { stream, answers, one_by_one: "one-insn-per-tb" };
        control.execute(&json!({"execute": "qmp_capabilities"}))?;
        // Until QEMU 8.1 it had another name.
        if control.monitor("one-insn-per-tb off").is_err() {
            control.one_by_one = "singlestep";
        }
        Ok(control)
    }

    fn start_log(&mut self, file: &LogFile) -> Result<()> {
        self.monitor(&format!("logfile \"{}\"", file.0.display()))?;
        self.monitor(&format!("{} on", self.one_by_one))?;
        self.monitor("log exec,nochain")
    }

    fn stop_log(&mut self) -> Result<()> {
        self.monitor("log none")?;
        self.monitor(&format!("{} off", self.one_by_one))
    }

    /// Runs a command of the human monitor, none of which says anything when it works.
    fn monitor(&mut self, command: &str) -> Result<()> {
        let answer =
            self.execute(&json!({"execute": "human-monitor-command", "arguments": {"command-line": command}}))?;
        match answer.as_str() {
            Some("") => Ok(()),
            _ => bail!("QEMU's answer to `{command}`: {answer}"),
        }
    }

    fn execute(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.stream, "{command}").context("QEMU takes no commands any more")?;
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).context("QEMU does not answer")? == 0 {
                bail!("QEMU ended while it was asked: {command}");
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            // Everything else is a greeting or an event.
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }
}
