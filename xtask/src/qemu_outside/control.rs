//! The connection to QEMU's machine protocol (QMP): commands, and the events that QEMU tells of.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// Our end of it.
pub struct Control {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    /// Told while an answer was awaited.
    events: VecDeque<Value>,
}

impl Control {
    /// Waits until QEMU connects, and makes it take commands.
    pub fn accept(listener: &TcpListener, deadline: Instant) -> Result<Self> {
        let stream = super::accept(listener, deadline)?;
        let mut control = Control { answers: BufReader::new(stream.try_clone()?), stream, events: VecDeque::new() };
        control.execute("qmp_capabilities", json!({}))?;
        Ok(control)
    }

    /// Lets keys go down and up, and the mouse move.
    pub fn send_input(&mut self, events: &[Value]) -> Result<()> {
        self.execute("input-send-event", json!({"events": events}))?;
        Ok(())
    }

    /// Whether QEMU has a device with this name.
    pub fn has_device(&mut self, id: &str) -> Result<bool> {
        let devices = self.execute("qom-list", json!({"path": "/machine/peripheral"}))?;
        let devices = devices.as_array().context("QEMU lists its devices otherwise")?;
        Ok(devices.iter().any(|device| device["name"] == id))
    }

    /// Executes one command, which must succeed, and gives what it returns.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream, "{request}").context("QEMU takes no commands any more")?;
        loop {
            let answer = self.read(command)?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {request}: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            self.note(answer);
        }
    }

    /// Waits until QEMU tells of the event `name`, and gives its data. Events that came earlier count, each once.
    pub fn wait_for(&mut self, name: &str) -> Result<Value> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event["event"] == name {
                    return Ok(event["data"].clone());
                }
            }
            let event = self.read(name)?;
            self.note(event);
        }
    }

    /// Keeps an event; what else comes unasked is the greeting.
    fn note(&mut self, message: Value) {
        if message.get("event").is_some() {
            self.events.push_back(message);
        }
    }

    fn read(&mut self, awaited: &str) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).with_context(|| format!("QEMU does not tell of `{awaited}`"))? == 0 {
            bail!("QEMU ended before it told of `{awaited}`");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU says what is no JSON: {line}"))
    }
}
