//! Records: rustls's unbuffered connections, of both sides, and what they hand out.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error as RustlsError, SideData};

/// Bytes that are taken bit by bit.
#[derive(Default)]
pub(super) struct LeftOver {
    pub(super) bytes: Vec<u8>,
    start: usize,
}

impl LeftOver {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    /// `n` of them were taken. Room is given back with the last one.
    pub(super) fn take(&mut self, n: usize) {
        self.start += n;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// A connection's state, of either side.
pub(super) enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Side {
    pub(super) fn facts(&self) -> &CommonState {
        match self {
            Self::Client(c) => c,
            Self::Server(c) => c,
        }
    }

    /// Of these two the one for what the peer is.
    pub(super) fn peer<T>(&self, server: T, client: T) -> T {
        match self {
            Self::Client(_) => server,
            Self::Server(_) => client,
        }
    }

    /// Takes whatever whole records there are in `incoming`: see [`look`].
    pub(super) fn look(
        &mut self,
        incoming: &mut [u8],
        plain: impl FnMut(&[u8]),
        out: &mut LeftOver,
    ) -> Result<Looked, RustlsError> {
        match self {
            Self::Client(c) => look(c, incoming, plain, out),
            Self::Server(c) => look(c, incoming, plain, out),
        }
    }

    /// Puts into `room`, which grows where need be, what `write` makes of an open connection; returns its length. What has to be
    /// sent before that goes to `out`, what was received meanwhile to `plain`. `incoming` is what [`Self::look`] has left.
    pub(super) fn write(
        &mut self,
        room: &mut Vec<u8>,
        write: impl Fn(Writing<'_, '_>, &mut [u8]) -> Result<usize, EncryptError>,
        incoming: &mut Vec<u8>,
        plain: &mut LeftOver,
        out: &mut LeftOver,
    ) -> Result<usize, RustlsError> {
        match self {
            Self::Client(c) => encrypted(c, room, |w, room| write(Writing::Client(w), room), incoming, plain, out),
            Self::Server(c) => encrypted(c, room, |w, room| write(Writing::Server(w), room), incoming, plain, out),
        }
    }
}

/// The two kinds of connection, which rustls keeps apart by type.
trait Records {
    type Data: SideData;
    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// What came of a look at ciphertext.
pub(super) struct Looked {
    /// Of the ciphertext this much is done with.
    pub(super) consumed: usize,
    /// The peer has sent close_notify.
    pub(super) ended: bool,
}

/// Takes whatever whole records there are in `incoming`. `plain` is called with each piece of plaintext; `out` gets what the
/// connection has to say: handshake, alerts. On an error that holds the alert too.
fn look<R: Records>(
    connection: &mut R,
    incoming: &mut [u8],
    mut plain: impl FnMut(&[u8]),
    out: &mut LeftOver,
) -> Result<Looked, RustlsError> {
    let mut looked = Looked { consumed: 0, ended: false };
    let mut failed: Option<RustlsError> = None;
    loop {
        let rest = incoming.get_mut(looked.consumed..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = connection.step(rest);
        let done = match state {
            Err(e) if failed.is_none() => {
                failed = Some(e);
                false
            }
            Err(_) => true,
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain(record.payload);
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(|room| data.encode(room), out)?;
                // After an error this is its alert. A further step would look at the bad bytes again.
                failed.is_some()
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It stands in `out` by now, and in no other order than that is it sent.
                data.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                looked.ended = true;
                false
            }
            Ok(ConnectionState::Closed) => {
                looked.ended = true;
                true
            }
            // No early data is ever offered or taken; what the other states want is more bytes.
            Ok(_) => true,
        };
        looked.consumed += discard;
        if done {
            return failed.map_or(Ok(looked), Err);
        }
    }
}

fn encode(
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    out: &mut LeftOver,
) -> Result<(), RustlsError> {
    let start = out.bytes.len();
    let mut room = 512;
    loop {
        out.bytes.resize(start + room, 0);
        match encode(out.bytes.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.bytes.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(e)) if e.required_size > room => room = e.required_size,
            Err(e) => {
                out.bytes.truncate(start);
                return Err(RustlsError::General(e.to_string()));
            }
        }
    }
}

/// What a connection in its open state does with bytes or without.
fn encrypted<R: Records>(
    connection: &mut R,
    room: &mut Vec<u8>,
    mut write: impl FnMut(&mut WriteTraffic<'_, R::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    incoming: &mut Vec<u8>,
    plain: &mut LeftOver,
    out: &mut LeftOver,
) -> Result<usize, RustlsError> {
    let mut written = None;
    loop {
        let UnbufferedStatus { mut discard, state } = connection.step(incoming);
        match state? {
            ConnectionState::WriteTraffic(mut traffic) => match write(&mut traffic, room) {
                Ok(n) => written = Some(n),
                Err(EncryptError::InsufficientSize(e)) if e.required_size > room.len() => {
                    room.resize(e.required_size, 0);
                }
                Err(e) => return Err(RustlsError::General(e.to_string())),
            },
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain.push(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(|room| data.encode(room), out)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            _ => return Err(RustlsError::General("the connection is closed for writing".to_owned())),
        }
        if discard > 0 {
            incoming.drain(..discard.min(incoming.len()));
        }
        if let Some(written) = written {
            return Ok(written);
        }
    }
}

/// rustls's two kinds of a connection that may write.
pub(super) enum Writing<'a, 'c> {
    Client(&'a mut WriteTraffic<'c, ClientConnectionData>),
    Server(&'a mut WriteTraffic<'c, ServerConnectionData>),
}

impl Writing<'_, '_> {
    pub(super) fn encrypt(self, bytes: &[u8], room: &mut [u8]) -> Result<usize, EncryptError> {
        match self {
            Self::Client(w) => w.encrypt(bytes, room),
            Self::Server(w) => w.encrypt(bytes, room),
        }
    }

    pub(super) fn close(self, room: &mut [u8]) -> Result<usize, EncryptError> {
        match self {
            Self::Client(w) => w.queue_close_notify(room),
            Self::Server(w) => w.queue_close_notify(room),
        }
    }
}
