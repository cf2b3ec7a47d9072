//! The relay: bytes between two streams until either side or a timer ends it.
//!
//! One future polls both ways. It reads into the worker's own buffer and writes through at once; only what the peer
//! does not take is kept, in a buffer that goes away with it. So an idle session holds no buffer at all.
//!
//! End of data travels on as a half-close and leaves the other direction open. Whatever ends the relay, the streams
//! are still the caller's: how they are closed (orderly, or by a reset) depends on who ended it, see [`End`].

mod flow;
#[cfg(test)]
mod tests;
mod watch;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::stream::Stream;
use super::tcp_info::{self, Outstanding};
use flow::{Fault, Flow, Phase, transfer};
use watch::AckWatch;

/// Bytes moved in one poll before other sessions of the worker get their turn.
const TURN: usize = 256 * 1024;

/// A stream that can be relayed.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Bytes that the far end has not acknowledged; `None` where that cannot be known.
    fn outstanding(&self) -> Option<Outstanding>;
}

impl Wire for Stream {
    fn outstanding(&self) -> Option<Outstanding> {
        self.tcp().and_then(tcp_info::outstanding)
    }
}

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// Whom we connected to.
    Node,
}

/// The relay's timers. `None` = off.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    /// No byte either way.
    pub idle: Option<Duration>,
    /// Silence of one side after the other's end of data. Starts again with each byte: a fixed one would cut a
    /// dump that is still running.
    pub half_close: Duration,
    /// A client's end of data is passed on to the node only after this, unless the node ends first. A MySQL server
    /// closes by itself after COM_QUIT and then keeps the TIME_WAIT on its side.
    pub hold_fin: Duration,
    /// No acknowledgement at all while bytes are outstanding.
    pub user: Option<Duration>,
    /// A living peer that takes nothing.
    pub stall: Option<Duration>,
}

/// Counts bytes as they are passed on.
pub trait Meter {
    /// `n` bytes were handed to the other side's stream; `from` sent them.
    fn count(&self, from: Side, n: u64);
}

/// Why a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both directions came to their orderly end; this side ended first.
    Orderly(Side),
    /// This side's stream broke: a reset, or an error of the network.
    Broken(Side, io::Error),
    /// No byte for [`Timers::idle`].
    Idle,
    /// Silence for [`Timers::half_close`] after this side's end of data.
    HalfClosed(Side),
    /// This side has vanished.
    Vanished(Side),
    /// This side lives and takes nothing.
    Stalled(Side),
}

/// Relays until the end. `to_client` is sent to the client before anything else (the node's greeting).
///
/// Not an `async fn`: that would hold its arguments and the relay twice over, in every session.
pub fn relay<'a, C: Wire, N: Wire, M: Meter>(
    client: &'a mut C,
    node: &'a mut N,
    to_client: Box<[u8]>,
    timers: &'a Timers,
    meter: &'a M,
) -> Relay<'a, C, N, M> {
    Relay {
        client,
        node,
        up: Flow::new(Box::default()),
        down: Flow::new(to_client),
        first_end: None,
        broken: None,
        timers,
        meter,
        last_sign: Instant::now(),
        client_acks: AckWatch::new(),
        node_acks: AckWatch::new(),
        timer: None,
    }
}

/// A relay under way; see [`relay`].
pub struct Relay<'a, C, N, M> {
    client: &'a mut C,
    node: &'a mut N,
    /// Client to node.
    up: Flow,
    /// Node to client.
    down: Flow,
    first_end: Option<Side>,
    /// A side that took no more bytes, while the other direction is still being delivered.
    broken: Option<(Side, io::Error)>,
    timers: &'a Timers,
    meter: &'a M,
    /// When a byte or an end of data came last.
    last_sign: Instant,
    client_acks: AckWatch,
    node_acks: AckWatch,
    /// Present only while something is timed.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<C: Wire, N: Wire, M: Meter> Future for Relay<'_, C, N, M> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        // The relay yields by itself after TURN bytes. Without this, tokio's budget would end a turn earlier with a
        // Pending that looks like a peer that takes nothing, and every such turn would copy a buffer aside.
        pin!(unconstrained(poll_fn(|cx| self.turn(cx)))).poll(cx)
    }
}

impl<C: Wire, N: Wire, M: Meter> Relay<'_, C, N, M> {
    /// The client's stream, to be asked about between polls.
    pub fn client(&self) -> &C {
        self.client
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let open = self.open();
        let moved = match self.poll_bytes(cx) {
            Ok(moved) => moved,
            Err(end) => return Poll::Ready(end),
        };
        if let Some(end) = self.end() {
            return Poll::Ready(end);
        }
        // An end of data after an idle hour gives the other side its whole time.
        if moved > 0 || self.open() != open {
            self.last_sign = Instant::now();
        }
        self.poll_timers(cx)
    }

    /// Which directions may still bring bytes.
    fn open(&self) -> [bool; 2] {
        [&self.up, &self.down].map(|flow| flow.phase == Phase::Open)
    }

    /// Moves bytes both ways until neither can go on, or this turn is over. Returns the bytes moved.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Result<usize, End> {
        let mut moved = 0;
        loop {
            let up = transfer(cx, self.client, self.node, &mut self.up);
            let up = self.settle(up, Side::Client)?;
            if up > 0 {
                self.meter.count(Side::Client, up as u64);
                self.node_acks.arm();
            }
            let down = transfer(cx, self.node, self.client, &mut self.down);
            let down = self.settle(down, Side::Node)?;
            if down > 0 {
                self.meter.count(Side::Node, down as u64);
                self.client_acks.arm();
            }
            self.pass_on_ends(cx)?;
            moved += up + down;
            if up + down == 0 {
                return Ok(moved);
            }
            if moved >= TURN {
                cx.waker().wake_by_ref();
                return Ok(moved);
            }
        }
    }

    /// A source that breaks ends the relay: what it sent before was read and written already. A sink that breaks ends
    /// only its direction, since the same peer may have sent bytes before it went: a server's ERR packet, or the rest
    /// of a client's transaction.
    fn settle(&mut self, moved: Result<usize, Fault>, source: Side) -> Result<usize, End> {
        match moved {
            Ok(n) => Ok(n),
            Err(Fault::Source(e)) => Err(End::Broken(source, e)),
            Err(Fault::Sink(e)) => {
                let (flow, sink) = match source {
                    Side::Client => (&mut self.up, Side::Node),
                    Side::Node => (&mut self.down, Side::Client),
                };
                *flow = Flow { phase: Phase::Closed, left: None, unflushed: false };
                self.broken.get_or_insert((sink, e));
                Ok(0)
            }
        }
    }

    /// How it ended, once both directions are closed.
    fn end(&mut self) -> Option<End> {
        if self.up.phase != Phase::Closed || self.down.phase != Phase::Closed {
            return None;
        }
        Some(match self.broken.take() {
            Some((side, e)) => End::Broken(side, e),
            None => End::Orderly(self.first_end.unwrap_or(Side::Client)),
        })
    }

    /// Turns a delivered end of data into a half-close.
    fn pass_on_ends(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.down.phase == Phase::Ended && self.down.left.is_none() {
            self.first_end.get_or_insert(Side::Node);
            match Pin::new(&mut *self.client).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.down.phase = Phase::Closed,
                Poll::Ready(Err(e)) => return self.settle(Err(Fault::Sink(e)), Side::Node).map(drop),
                Poll::Pending => {}
            }
        }
        if self.up.phase == Phase::Ended && self.up.left.is_none() {
            self.first_end.get_or_insert(Side::Client);
            self.up.phase = Phase::Holding(Instant::now() + self.timers.hold_fin);
        }
        if let Phase::Holding(until) = self.up.phase
            && (self.timers.hold_fin.is_zero() || self.down.phase != Phase::Open || Instant::now() >= until)
        {
            match Pin::new(&mut *self.node).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.up.phase = Phase::Closed,
                Poll::Ready(Err(e)) => return self.settle(Err(Fault::Sink(e)), Side::Client).map(drop),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Ends the relay where a timer is due, and makes sure of being woken at the next one.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let Some(next) = self.next_deadline() else {
                self.timer = None;
                return Poll::Pending;
            };
            // A timer that stands earlier than needed is left alone: it is cheaper to wake once too often than to
            // move it with every byte.
            let timer = match &mut self.timer {
                Some(t) if t.deadline() <= next => t,
                _ => self.timer.insert(Box::pin(sleep_until(next))),
            };
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
            let now = Instant::now();
            if let Some(end) = self.due(now) {
                return Poll::Ready(end);
            }
            if matches!(self.up.phase, Phase::Holding(until) if now >= until) {
                if let Err(end) = self.pass_on_ends(cx) {
                    return Poll::Ready(end);
                }
                if let Some(end) = self.end() {
                    return Poll::Ready(end);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let holding = match self.up.phase {
            // Once it is due the shutdown itself wakes us; a deadline in the past would spin.
            Phase::Holding(until) if until > Instant::now() => Some(until),
            _ => None,
        };
        let idle = self.timers.idle.map(|t| self.last_sign + t);
        let half = self.half_closed().map(|_| self.last_sign + self.timers.half_close);
        [holding, idle, half, self.client_acks.next(self.timers), self.node_acks.next(self.timers)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Who has ended, while the other has not.
    fn half_closed(&self) -> Option<Side> {
        match (self.up.phase, self.down.phase) {
            (Phase::Open, Phase::Open) => None,
            (_, Phase::Open) => Some(Side::Client),
            (Phase::Open, _) => Some(Side::Node),
            _ => self.first_end.or(Some(Side::Client)),
        }
    }

    fn due(&mut self, now: Instant) -> Option<End> {
        let client = self.client_acks.judge(now, self.timers, || self.client.outstanding());
        let node = self.node_acks.judge(now, self.timers, || self.node.outstanding());
        match (client, node) {
            (Some(watch::Death::Vanished), _) => return Some(End::Vanished(Side::Client)),
            (Some(watch::Death::Stalled), _) => return Some(End::Stalled(Side::Client)),
            (_, Some(watch::Death::Vanished)) => return Some(End::Vanished(Side::Node)),
            (_, Some(watch::Death::Stalled)) => return Some(End::Stalled(Side::Node)),
            (None, None) => {}
        }
        if let Some(side) = self.half_closed()
            && now >= self.last_sign + self.timers.half_close
        {
            return Some(End::HalfClosed(side));
        }
        self.timers.idle.filter(|t| now >= self.last_sign + *t).map(|_| End::Idle)
    }
}
