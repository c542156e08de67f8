//! The machine's second serial line, on which the kernel says what has arrived.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// Our end of the line.
pub struct Line {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Line {
    /// Waits until QEMU connects.
    pub fn accept(listener: &TcpListener, deadline: Instant) -> Result<Self> {
        let stream = super::accept(listener, deadline)?;
        Ok(Line { lines: BufReader::new(stream.try_clone()?), stream })
    }

    /// Sends bytes, as fast as the machine takes them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("the machine takes no bytes any more")
    }

    /// The next line that the guest says.
    pub fn next(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).context("the guest says nothing on its serial line")? == 0 {
            bail!("the machine ended before all had arrived");
        }
        Ok(line.trim_end().to_owned())
    }

    /// The guest must say this now.
    pub fn wait_for(&mut self, wanted: &str) -> Result<()> {
        let said = self.next()?;
        ensure!(said == wanted, "the guest says `{said}`, not `{wanted}`");
        Ok(())
    }
}
