//! The outside of QEMU's `ivshmem-doorbell`: the server that brings peers together, and a peer of our own.
//!
//! QEMU connects to a Unix socket and is told, one 64-bit number a message, some with a file: the version, its own number,
//! the shared memory, then for each peer the number and an eventfd for each vector, with which that peer is rung. Our own
//! peer is there from the beginning, so one connection is all there is to serve.

use anyhow::{Context, Result, ensure};
use rustix::{
    cmsg_space,
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{MemfdFlags, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use std::{
    fs::File,
    io::{ErrorKind, IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::FileExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// QEMU's name for the device. Not every QEMU has it.
pub const DEVICE: &str = "ivshmem-doorbell";
/// Our peer's number.
pub const HERE: i64 = 0;
/// The guest's.
const GUEST: i64 = 1;
/// Bytes of shared memory.
const MEMORY: u64 = 1 << 16;
/// The protocol's only version.
const VERSION: i64 = 0;
/// What stands before the shared memory in place of a peer's number.
const NO_PEER: i64 = -1;

/// Waits for QEMU.
pub struct Server {
    listener: UnixListener,
    path: SocketPath,
    peer: Peer,
}

/// Our peer: it can ring the guest, be rung by it, and look into the memory they share.
pub struct Peer {
    memory: File,
    /// One for each vector, written to by the guest.
    rung: Vec<File>,
    /// One for each vector of the guest.
    ring: Vec<File>,
    /// When it closes, QEMU holds that all peers are gone.
    _connection: Option<UnixStream>,
}

/// Removed when it is no longer needed.
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Whoever has cleared the directory has done it for us.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Server {
    /// Opens a socket for one guest with `vectors` vectors.
    pub fn listen(vectors: u16) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dirql-ivshmem-{}-{}", process::id(), COUNT.fetch_add(1, Relaxed));
        let path = SocketPath(std::env::temp_dir().join(name));
        let listener = UnixListener::bind(&path.0).with_context(|| format!("{} cannot be bound", path.0.display()))?;
        listener.set_nonblocking(true)?;
        let memory = File::from(memfd_create("dirql-ivshmem", MemfdFlags::CLOEXEC)?);
        memory.set_len(MEMORY)?;
        let peer = Peer { memory, rung: eventfds(vectors)?, ring: eventfds(vectors)?, _connection: None };
        Ok(Server { listener, path, peer })
    }

    /// What QEMU must be told to be the guest.
    pub fn arguments(&self) -> [String; 4] {
        let (path, vectors) = (self.path.0.display(), self.peer.vectors());
        [
            "-chardev".into(),
            format!("socket,id=peers,path={path}"),
            "-device".into(),
            format!("{DEVICE},chardev=peers,vectors={vectors}"),
        ]
    }

    /// Waits until QEMU connects, and tells it of everybody. QEMU goes on with nothing else before.
    pub fn accept(self, deadline: Instant) -> Result<Peer> {
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ensure!(Instant::now() < deadline, "QEMU's {DEVICE} does not connect");
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        };
        stream.set_nonblocking(false)?;
        let peer = self.peer;
        tell(&stream, VERSION, None)?;
        tell(&stream, GUEST, None)?;
        tell(&stream, NO_PEER, Some(&peer.memory))?;
        peer.rung.iter().try_for_each(|file| tell(&stream, HERE, Some(file)))?;
        peer.ring.iter().try_for_each(|file| tell(&stream, GUEST, Some(file)))?;
        Ok(Peer { _connection: Some(stream), ..peer })
    }
}

fn eventfds(count: u16) -> Result<Vec<File>> {
    (0..count).map(|_| Ok(File::from(eventfd(0, EventfdFlags::CLOEXEC)?))).collect()
}

/// How often an eventfd was written to since the last time.
fn take(mut eventfd: &File) -> Result<u64> {
    let mut count = [0; 8];
    eventfd.read_exact(&mut count)?;
    Ok(u64::from_ne_bytes(count))
}

/// Sends a number, with a file if there is one.
fn tell(stream: &UnixStream, number: i64, file: Option<&File>) -> Result<()> {
    let bytes = number.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Option<[BorrowedFd<'_>; 1]> = file.map(|file| [file.as_fd()]);
    if let Some(files) = &files {
        ensure!(control.push(SendAncillaryMessage::ScmRights(files)), "there is room for one file");
    }
    let sent = sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty())?;
    ensure!(sent == bytes.len(), "QEMU took {sent} bytes of a number");
    Ok(())
}

impl Peer {
    /// How many vectors each peer has.
    pub fn vectors(&self) -> u16 {
        self.ring.len() as u16
    }

    /// Rings `vector` of the guest.
    pub fn ring(&mut self, vector: u16) -> Result<()> {
        Ok(self.ring[usize::from(vector)].write_all(&1u64.to_ne_bytes())?)
    }

    /// Waits until the guest has rung `vector`, and returns how often it has since the last time.
    pub fn wait(&mut self, vector: u16, deadline: Instant) -> Result<u64> {
        let rung = &self.rung[usize::from(vector)];
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
        let ready = poll(&mut [PollFd::new(rung, PollFlags::IN)], Some(&left))?;
        ensure!(ready == 1, "the guest does not ring vector {vector}");
        take(rung)
    }

    /// Answers every ring of the guest by one of the same vector, until the guest is gone.
    pub fn echo(mut self) -> Result<()> {
        loop {
            let mut files: Vec<PollFd<'_>> = self.rung.iter().map(|file| PollFd::new(file, PollFlags::IN)).collect();
            poll(&mut files, None)?;
            let rung: Vec<bool> = files.iter().map(|file| !file.revents().is_empty()).collect();
            for vector in (0..self.vectors()).filter(|vector| rung[usize::from(*vector)]) {
                take(&self.rung[usize::from(vector)])?;
                self.ring(vector)?;
            }
        }
    }

    /// The shared memory's word `n`.
    pub fn word(&self, n: u16) -> Result<u32> {
        let mut word = [0; 4];
        self.memory.read_exact_at(&mut word, 4 * u64::from(n))?;
        Ok(u32::from_le_bytes(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::{io::IoSliceMut, os::fd::OwnedFd};

    /// A number and perhaps a file, as QEMU receives them.
    fn told(stream: &UnixStream) -> (i64, Option<File>) {
        let mut bytes = [0; 8];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
        assert_eq!(received.expect("the server says more").bytes, 8);
        let files = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let file: Option<OwnedFd> = files.flatten().next();
        (i64::from_le_bytes(bytes), file.map(File::from))
    }

    #[test]
    fn a_guest_is_told_of_the_memory_and_of_everybodys_vectors() {
        let server = Server::listen(2).expect("there are sockets");
        let path = server.path.0.clone();
        let stream = UnixStream::connect(&path).expect("the server listens");
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut peer = server.accept(deadline).expect("somebody connects");
        assert!(!path.exists(), "nobody else shall come");

        let [version, number, memory] = [(); 3].map(|()| told(&stream));
        assert_eq!((version.0, version.1.is_none(), number.0, number.1.is_none()), (0, true, GUEST, true));
        let memory = memory.1.filter(|_| memory.0 == NO_PEER).expect("the memory comes with a number that is none");
        let files = [(); 4].map(|()| told(&stream));
        assert_eq!(files.each_ref().map(|(number, _)| *number), [HERE, HERE, GUEST, GUEST]);
        let [_, theirs, ours, _] = files.map(|(_, file)| file.expect("every vector is a file"));

        memory.write_all_at(&7u32.to_le_bytes(), 4).expect("it is memory");
        assert_eq!((peer.word(0).ok(), peer.word(1).ok()), (Some(0), Some(7)));
        (&theirs).write_all(&2u64.to_ne_bytes()).expect("it counts");
        assert_eq!(peer.wait(1, deadline).ok(), Some(2));
        peer.ring(0).expect("it counts");
        assert_eq!(take(&ours).ok(), Some(1));
        assert!(peer.wait(0, Instant::now()).is_err(), "vector 0 was not rung");
    }
}
