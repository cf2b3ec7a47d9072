//! The new process's side of an upgrade: it takes over from the one that has started it.

use std::fs::File;
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

use super::handed::Handed;
use crate::admin::Operated;
use crate::net::handover::{Channel, HandoverError, Order, Word};

/// Says that standard input is the channel: [`super::upgrade::START_ME`], or the number of this process's parent, which ends with
/// the start.
pub(super) const VARIABLE: &str = "GALEWAY_UPGRADE";

/// The other process sends what it has before it does anything else.
const HANDING_OVER: Duration = Duration::from_secs(10);

/// The other process waits for nothing but our word.
const ANSWER: Duration = Duration::from_secs(10);

/// The process that serves until this one does.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    /// The number of our parent, until it is ended.
    midwife: u32,
}

impl Predecessor {
    /// The process that has started this one to take its place, with all that it hands over; `None`: this is an ordinary
    /// start. To be called before any thread is started, once.
    ///
    /// # Errors
    /// What a person has to be told.
    pub fn find() -> Result<Option<(Self, Handed)>, String> {
        // Set alone it says nothing: whoever takes over has it for as long as it lives, and so have its children.
        let set = std::env::var(VARIABLE).ok().and_then(|value| value.parse().ok());
        let (Some(midwife), Ok(channel)) = (set, Channel::of_stdin()) else { return Ok(None) };
        // Of the thread that takes it back below.
        die_with_parent(true)?;
        if parent_id() != midwife {
            return Err("this process was to take over, and is not wanted any more".to_owned());
        }
        // Whoever we start is not to have it.
        let null = File::open("/dev/null").map_err(|e| format!("cannot open /dev/null: {e}"))?;
        rustix::stdio::dup2_stdin(&null).map_err(|e| format!("cannot put /dev/null on standard input: {e}"))?;
        match channel.receive(Instant::now() + HANDING_OVER) {
            Ok(goods) => Ok(Some((Self { channel, midwife }, Handed::new(goods)))),
            // Everything that it had is free now.
            Err(HandoverError::Gone) => {
                die_with_parent(false)?;
                part_from(midwife);
                tracing::warn!("the Galeway that was to be replaced has ended: this is an ordinary start");
                Ok(None)
            }
            Err(e) => Err(format!("cannot take over from the running Galeway: {e}")),
        }
    }

    /// Says that this process serves, and waits until the other one does no more; once, when clients are accepted.
    ///
    /// `operated`: what operators set from now on holds for the other one's sessions, too.
    ///
    /// To be called on the thread that has called [`Self::find`].
    pub async fn relieve(self, operated: broadcast::Receiver<Operated>) -> Relieved {
        let (send, receive) = oneshot::channel();
        // From our word on the parent may be ended, and we are not.
        if let Err(why) = die_with_parent(false) {
            return Relieved::Silent(why);
        }
        let midwife = self.midwife;
        // The channel is a blocking one.
        let thread = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            let until = Instant::now() + ANSWER;
            let answer =
                self.channel.say(Word::Ready(std::process::id()), until).and_then(|()| self.channel.hear(until));
            // One that was only slow still leaves once it has read our word: a channel that is closed by then would tell it that
            // we have ended, and it would end us and go on.
            let lives = !matches!(answer, Err(HandoverError::Gone));
            // Who asked may have been told to end.
            let _ = send.send(match answer {
                Ok(_) => Relieved::Orderly,
                Err(HandoverError::Gone) => Relieved::Alone,
                Err(e) => Relieved::Silent(e.to_string()),
            });
            if lives {
                pass_on(&self.channel, operated);
            }
        });
        if let Err(e) = thread {
            return Relieved::Silent(format!("cannot start a thread: {e}"));
        }
        let relieved = receive.await.unwrap_or_else(|_| Relieved::Silent("it could not be asked".to_owned()));
        // Where the other one has ended, nobody else ends it.
        part_from(midwife);
        relieved
    }
}

/// Whether this process is to be ended as soon as its parent ends.
fn die_with_parent(die: bool) -> Result<(), String> {
    let signal = die.then_some(Signal::KILL);
    set_parent_process_death_signal(signal).map_err(|e| format!("cannot say what is to become of this process: {e}"))
}

/// Ends the parent of our start, if it is there still: a parent's number is nobody else's.
fn part_from(midwife: u32) {
    if parent_id() == midwife
        && let Some(midwife) = midwife.try_into().ok().and_then(Pid::from_raw)
    {
        let _ = kill_process(midwife, Signal::KILL);
    }
}

/// What the other process said to our being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relieved {
    /// It serves no more, but for the sessions that it has.
    Orderly,
    /// It has ended, and its sessions with it.
    Alone,
    /// Nothing that can be understood.
    Silent(String),
}

/// Tells the other process what operators set, until it has ended.
fn pass_on(channel: &Channel, mut operated: broadcast::Receiver<Operated>) {
    loop {
        let Operated { cluster, node, state, accept_history } = match operated.blocking_recv() {
            Ok(operated) => operated,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let (cluster, node, state) = (cluster.to_string(), node.to_string(), state.as_str().to_owned());
        let order = Word::Order(Order { cluster, node, state, accept_history });
        match channel.say(order, Instant::now() + ANSWER) {
            Ok(()) => {}
            Err(HandoverError::Gone) => return,
            Err(error) => {
                tracing::warn!(%error, "the process that was here before does not hear what operators set: its \
                sessions go on as they are")
            }
        }
    }
}
