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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, time::Duration};

    /// A QEMU that says each of `says` after it was told something once more, the first when it is connected to.
    fn with_qemu(says: &'static [&'static str], f: impl FnOnce(&mut Control)) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
        let address = listener.local_addr().expect("it is bound");
        let qemu = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("somebody listens");
            let mut told = BufReader::new(stream.try_clone().expect("there are descriptors")).lines();
            for (n, text) in says.iter().enumerate() {
                if n > 0 {
                    told.next().expect("more is told").expect("it is text");
                }
                stream.write_all(text.as_bytes()).expect("somebody reads");
            }
        });
        let mut control =
            Control::accept(&listener, Instant::now() + Duration::from_secs(60)).expect("QEMU takes commands");
        f(&mut control);
        qemu.join().expect("QEMU was told all it waits for");
    }

    const GREETING: &str = "{\"QMP\": {}}\n";
    const DONE: &str = "{\"return\": {}}\n";

    #[test]
    fn events_that_come_before_an_answer_are_not_lost() {
        const EARLY: &str =
            "{\"event\": \"STOP\"}\n{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"e9\"}}\n{\"return\": 7}\n";
        with_qemu(&[GREETING, DONE, EARLY, DONE], |control| {
            assert_eq!(control.execute("device_del", json!({"id": "e9"})).expect("it is done"), 7);
            assert_eq!(control.wait_for("DEVICE_DELETED").expect("it was told")["device"], "e9");
            control.execute("quit", json!({})).expect("it is done");
            assert!(control.wait_for("DEVICE_DELETED").is_err(), "QEMU has told of it once, and is gone");
        });
    }

    #[test]
    fn a_device_is_there_if_it_is_listed() {
        const LISTED: &str = "{\"return\": [{\"name\": \"type\"}, {\"name\": \"e9\"}]}\n";
        with_qemu(&[GREETING, DONE, LISTED, LISTED], |control| {
            assert!(control.has_device("e9").expect("it is listed"));
            assert!(!control.has_device("e").expect("it is listed"));
        });
    }

    #[test]
    fn a_refusal_is_an_error() {
        const NO: &str = "{\"error\": {\"desc\": \"no such device\"}}\n";
        with_qemu(&[GREETING, DONE, NO], |control| {
            let refused = control.execute("device_del", json!({"id": "e9"})).expect_err("it is refused").to_string();
            assert!(refused.contains("no such device"), "{refused}");
        });
    }
}
