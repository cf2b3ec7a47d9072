//! One direction of a relay: what it has come to, and how bytes are moved.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::Wire;

/// Bytes read at once: four records of TLS, each handed on by one call (docs/DESIGN.md, "Figures").
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Lent to whichever relay of this thread is being polled; never held across an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Bytes read that the peer has not taken yet.
#[derive(Debug)]
pub(super) struct LeftOver {
    bytes: Box<[u8]>,
    start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Bytes may come.
    Open,
    /// End of data was read and what was read before it is being delivered.
    Ended,
    /// Delivered; the half-close waits for this time.
    Holding(Instant),
    /// The half-close was passed on.
    Closed,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) phase: Phase,
    pub(super) left: Option<LeftOver>,
    /// Bytes were written that the stream may still hold (TLS).
    pub(super) unflushed: bool,
}

impl Flow {
    pub(super) fn new(first: Box<[u8]>) -> Self {
        let left = (!first.is_empty()).then_some(LeftOver { bytes: first, start: 0 });
        Self { phase: Phase::Open, left, unflushed: false }
    }
}

/// Which end of a transfer failed.
pub(super) enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

/// Moves bytes one way: what was left first, then one read. Returns the bytes that the sink took; 0 means that
/// nothing can be done before a wake-up.
pub(super) fn transfer<S: Wire, D: Wire>(
    cx: &mut Context<'_>,
    source: &mut S,
    sink: &mut D,
    flow: &mut Flow,
) -> Result<usize, Fault> {
    let mut moved = 0;
    while let Some(left) = &mut flow.left {
        let rest = left.bytes.get(left.start..).unwrap_or_default();
        match Pin::new(&mut *sink).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Err(Fault::Sink(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => {
                moved += n;
                left.start += n;
                flow.unflushed = true;
                if left.start >= left.bytes.len() {
                    flow.left = None;
                }
            }
            Poll::Ready(Err(e)) => return Err(Fault::Sink(e)),
            Poll::Pending => return Ok(moved),
        }
    }
    if flow.phase == Phase::Open {
        moved += SCRATCH.with_borrow_mut(|scratch| read_and_write(cx, source, sink, flow, scratch))?;
    }
    // Before waiting: TLS may have taken bytes that it has not sent.
    if flow.unflushed && flow.left.is_none() {
        match Pin::new(&mut *sink).poll_flush(cx) {
            Poll::Ready(Ok(())) => flow.unflushed = false,
            Poll::Ready(Err(e)) => return Err(Fault::Sink(e)),
            Poll::Pending => {}
        }
    }
    Ok(moved)
}

fn read_and_write<S: Wire, D: Wire>(
    cx: &mut Context<'_>,
    source: &mut S,
    sink: &mut D,
    flow: &mut Flow,
    scratch: &mut [u8],
) -> Result<usize, Fault> {
    let mut buf = ReadBuf::new(scratch);
    match Pin::new(source).poll_read(cx, &mut buf) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(e)) => return Err(Fault::Source(e)),
        Poll::Pending => return Ok(0),
    }
    let mut rest = buf.filled();
    if rest.is_empty() {
        flow.phase = Phase::Ended;
        return Ok(0);
    }
    let mut moved = 0;
    while !rest.is_empty() {
        match Pin::new(&mut *sink).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Err(Fault::Sink(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => {
                moved += n;
                flow.unflushed = true;
                rest = rest.get(n..).unwrap_or_default();
            }
            Poll::Ready(Err(e)) => return Err(Fault::Sink(e)),
            Poll::Pending => {
                flow.left = Some(LeftOver { bytes: rest.into(), start: 0 });
                break;
            }
        }
    }
    Ok(moved)
}
