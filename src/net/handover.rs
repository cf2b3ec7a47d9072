//! Sockets and files on their way from a process to the one that takes its place.
//!
//! ```text
//!  old ──── goods, goods, … (JSON, and the descriptors beside it: SCM_RIGHTS of unix(7)) ────► new
//!      ◄─────────────────────────────── ready ───────────────────────────────────────────────
//!      ─────────────────────────────── it is yours ──────────────────────────────────────────►
//!      ◄─────────────── what operators set, for as long as the old one has sessions ───────────
//! ```
//!
//! The channel is a pair of sockets of kind SOCK_SEQPACKET: a message arrives whole or not at all, and the end of either
//! process is the end of the channel.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::config::Listen;

/// What the messages mean: two processes of different versions must mean the same.
const FORM: u32 = 1;

/// Descriptors in one message. The kernel takes 253 (SCM_MAX_FD).
const MOST: usize = 32;

/// Bytes of one message: every label can hold a path of 4096 bytes.
const LONGEST: usize = 256 * 1024;

/// What was on the way and did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The operating system's word.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other process has ended, or let go of the channel.
    #[error("the other process is gone")]
    Gone,
    /// Nothing came, or nothing could be sent, in time.
    #[error("the other process does not answer")]
    Late,
    /// What came is of another version.
    #[error("the other process is of a version that hands over in another way ({0}): stop it and start this one")]
    Foreign(String),
}

impl From<Errno> for HandoverError {
    fn from(e: Errno) -> Self {
        Self::Io(e.into())
    }
}

/// What a descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// A service's listening socket, by the address that the configuration names.
    Service(Address),
    /// The admin address, likewise.
    Admin(SocketAddr),
    /// The admin socket.
    AdminSocket(SocketPath),
    /// The pid file, locked.
    PidFile(PathBuf),
}

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(SocketPath),
    /// What a service manager has bound, by its name.
    Inherited(String),
}

/// The path of a Unix socket, and which file is there: its device and inode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketPath {
    /// As it was bound.
    pub path: PathBuf,
    /// `None`: it is not ours to remove.
    pub file: Option<(u64, u64)>,
}

impl Address {
    /// By this name, of a file that is there.
    pub fn of(listen: &Listen, file: Option<(u64, u64)>) -> Self {
        match listen {
            Listen::Tcp(address) => Self::Tcp(*address),
            Listen::Unix(path) => Self::Unix(SocketPath { path: path.to_path_buf(), file }),
            Listen::Inherited(name) => Self::Inherited(name.to_string()),
        }
    }

    /// As configurations name it.
    pub fn listen(&self) -> Listen {
        match self {
            Self::Tcp(address) => Listen::Tcp(*address),
            Self::Unix(SocketPath { path, .. }) => Listen::Unix(path.as_path().into()),
            Self::Inherited(name) => Listen::Inherited(name.as_str().into()),
        }
    }
}

/// Something that goes over.
pub type Good = (Label, OwnedFd);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// One for each descriptor beside it; `more`: another such message follows.
    Goods {
        form: u32,
        labels: Vec<Label>,
        more: bool,
    },
    Word(Word),
}

/// A word of the other process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The new one, of this number, serves.
    Ready(u32),
    /// The old one serves no more.
    Yours,
    /// An operator wants this of a node: of the old one's sessions, too.
    Order(Order),
}

/// What an operator has set, in the words of the admin address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// `ready`, `drain` or `maintenance`.
    pub state: String,
    /// With `ready`: its history is the one to serve.
    pub accept_history: bool,
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The end that standard input is. A copy of it that children do not get.
    ///
    /// # Errors
    /// Standard input is no such thing.
    pub fn of_stdin() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        if rustix::net::sockopt::socket_type(stdin)? != SocketType::SEQPACKET {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // The standard library's copies close on exec.
        Ok(Self(stdin.try_clone_to_owned()?))
    }

    /// For a child's standard input.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends all of them until then.
    pub fn send(&self, goods: &[Good], until: Instant) -> Result<(), HandoverError> {
        let batches = goods.chunks(MOST).count().max(1);
        for (i, batch) in (1..).zip(if goods.is_empty() { vec![goods] } else { goods.chunks(MOST).collect() }) {
            let labels = batch.iter().map(|(label, _)| label.clone()).collect();
            let fds: Vec<_> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.put(&Message::Goods { form: FORM, labels, more: i < batches }, &fds, until)?;
        }
        Ok(())
    }

    /// Takes all that is sent until then.
    pub fn receive(&self, until: Instant) -> Result<Vec<Good>, HandoverError> {
        let mut goods = Vec::new();
        loop {
            match self.take(until)? {
                (Message::Goods { form, .. }, _) if form != FORM => {
                    return Err(HandoverError::Foreign(format!("form {form}, and this one knows {FORM}")));
                }
                (Message::Goods { labels, more, .. }, fds) if labels.len() == fds.len() => {
                    goods.extend(labels.into_iter().zip(fds));
                    if !more {
                        return Ok(goods);
                    }
                }
                (other, fds) => {
                    return Err(HandoverError::Foreign(format!("{other:?} with {} descriptors", fds.len())));
                }
            }
        }
    }

    /// Says a word.
    pub fn say(&self, word: Word, until: Instant) -> Result<(), HandoverError> {
        self.put(&Message::Word(word), &[], until)
    }

    /// Waits for a word until then; one that is there already is heard in any case.
    pub fn hear(&self, until: Instant) -> Result<Word, HandoverError> {
        match self.take(until)? {
            (Message::Word(word), _) => Ok(word),
            (other, _) => Err(HandoverError::Foreign(format!("{other:?}"))),
        }
    }

    fn put(&self, message: &Message, fds: &[std::os::fd::BorrowedFd<'_>], until: Instant) -> Result<(), HandoverError> {
        let text = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::Error::other("too many descriptors for one message").into());
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, until)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(HandoverError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn take(&self, until: Instant) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
        let mut text = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
                Ok(read) => {
                    let rights = control.drain().filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                        _ => None,
                    });
                    let fds: Vec<OwnedFd> = rights.flatten().collect();
                    if read.bytes == 0 {
                        return Err(HandoverError::Gone);
                    }
                    if read.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                        // CTRUNC comes of a process that may not have so many descriptors, too.
                        return Err(io::Error::other("a message was cut: see the limit of open files").into());
                    }
                    let message = text.get(..read.bytes).unwrap_or_default();
                    let message = serde_json::from_slice(message).map_err(|e| HandoverError::Foreign(e.to_string()))?;
                    return Ok((message, fds));
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, until)?,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(HandoverError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn wait(&self, what: PollFlags, until: Instant) -> Result<(), HandoverError> {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(HandoverError::Late);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.0, what)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_hundred_sockets_go_over_and_each_is_what_its_label_says() {
        let (old, new) = Channel::pair().unwrap();
        let sockets: Vec<TcpListener> = (0..100).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let goods = sockets.iter().map(|socket| {
            let label = Label::Service(Address::Tcp(socket.local_addr().unwrap()));
            (label, OwnedFd::from(socket.try_clone().unwrap()))
        });
        old.send(&goods.collect::<Vec<_>>(), soon()).unwrap();
        let received = new.receive(soon()).unwrap();
        assert_eq!(received.len(), 100);
        for (label, fd) in received {
            let Label::Service(Address::Tcp(address)) = label else { panic!("{label:?}") };
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            assert_eq!(TcpListener::from(fd).local_addr().unwrap(), address);
        }
        new.say(Word::Ready(7), soon()).unwrap();
        assert_eq!(old.hear(soon()).unwrap(), Word::Ready(7));
    }

    #[test]
    fn nothing_to_hand_over_is_said_as_well() {
        let (old, new) = Channel::pair().unwrap();
        old.send(&[], soon()).unwrap();
        assert_eq!(new.receive(soon()).unwrap().len(), 0);
    }

    #[test]
    fn whoever_waits_hears_of_the_end_and_waits_no_longer_than_told() {
        let (old, new) = Channel::pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(matches!(old.hear(soon), Err(HandoverError::Late)));
        drop(new);
        let far = Instant::now() + Duration::from_secs(60);
        assert!(matches!(old.hear(far), Err(HandoverError::Gone)));
        assert!(matches!(old.say(Word::Yours, far), Err(HandoverError::Gone)));
        assert!(Instant::now() < far);
    }

    #[test]
    fn one_that_never_reads_holds_nobody_up() {
        let (old, _new) = Channel::pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let sent = (0..1_000_000).find_map(|_| old.say(Word::Yours, soon).err());
        assert!(matches!(sent, Some(HandoverError::Late)), "{sent:?}");
    }

    #[test]
    fn a_message_of_another_version_is_told_as_such() {
        let (old, new) = Channel::pair().unwrap();
        for (text, word) in [("{\"goods\":{\"form\":2,\"labels\":[],\"more\":false}}", "form 2"), ("hello", "expected")]
        {
            rustix::net::send(&old.0, text.as_bytes(), SendFlags::empty()).unwrap();
            let said = new.receive(soon()).unwrap_err().to_string();
            assert!(said.contains(word) && said.contains("stop it and start this one"), "{said}");
        }
    }
}
