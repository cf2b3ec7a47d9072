//! A client's connection to a server: login, then one command at a time.

use crate::net::tls::{ClientTls, ServerCertificate};
use crate::net::{Plain, Stream};

use mysql_common::io::ParseBuf;

use super::error::{Error, Phase, ServerError};
use super::framing::{Broken, MAX_PACKET, Wire};
use super::greeting::{FirstPacket, Greeting, classify_first_packet};
pub use super::login::Credentials;
use super::login::{Link, Login, Step};
use super::rows::{Rows, column_name, text_row};

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;

/// `SERVER_MORE_RESULTS_EXISTS` of the status flags.
const MORE_RESULTS: u8 = 0x08;

/// An authenticated connection.
///
/// A command whose future was dropped, or that ended in anything but an answer or an ERR packet, leaves the
/// connection unusable: the next command fails at once with a protocol error.
#[derive(Debug)]
pub struct Connection {
    wire: Wire<Stream>,
    usable: bool,
    is_mariadb: bool,
}

impl Connection {
    /// Whether a command can be sent: none was left half done.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Whether the server calls itself a MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.is_mariadb
    }

    /// Runs one statement over the text protocol and takes the whole answer in.
    pub async fn query(&mut self, sql: &str) -> Result<Rows, Error> {
        self.begin()?;
        let mut command = Vec::with_capacity(1 + sql.len());
        command.push(COM_QUERY);
        command.extend(sql.as_bytes());
        let result = self.run(&command).await;
        self.end(result)
    }

    /// Resolves when the idle connection ends, and says how: an end, a reset, or what the server sent unasked
    /// (an ERR packet as its last word, as for `wait_timeout` on MySQL). Cancel-safe: after a dropped `closed` the
    /// connection is as it was.
    pub async fn closed(&mut self) -> Error {
        let error = loop {
            let unread = self.wire.unread();
            if !unread.is_empty() {
                let last_word = unread.split_first_chunk::<4>().and_then(|(_, payload)| ServerError::parse(payload));
                break match last_word {
                    Some(error) => Error::Server { phase: Phase::Idle, error },
                    None => Error::protocol(Phase::Idle, "the server speaks unasked"),
                };
            }
            if let Err(e) = self.wire.fill().await {
                break Error::io(Phase::Idle, e);
            }
        };
        self.usable = false;
        error
    }

    /// Says goodbye and ends our direction, so that the server counts no aborted client.
    pub async fn quit(mut self) {
        if self.begin().is_ok() && self.wire.send(&[COM_QUIT]).await.is_ok() {
            // The server may have closed already on COM_QUIT.
            let _ = self.wire.shutdown().await;
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        if !self.usable {
            return Err(Error::protocol(Phase::Command, "the connection is unusable after an earlier failure"));
        }
        if let Some(error) = self.wire.unread().split_first_chunk::<4>().and_then(|(_, p)| ServerError::parse(p)) {
            return Err(Error::Server { phase: Phase::Idle, error });
        }
        if !self.wire.unread().is_empty() {
            return Err(Error::protocol(Phase::Idle, "the server speaks unasked"));
        }
        self.usable = false;
        self.wire.reset_sequence();
        Ok(())
    }

    fn end(&mut self, result: Result<Rows, Error>) -> Result<Rows, Error> {
        self.usable = matches!(&result, Ok(_) | Err(Error::Server { .. }));
        self.wire.shrink();
        result
    }

    /// Layout: MySQL "COM_QUERY Response", "Text Resultset", without CLIENT_DEPRECATE_EOF.
    async fn run(&mut self, command: &[u8]) -> Result<Rows, Error> {
        send(&mut self.wire, Phase::Command, command).await?;
        let mut taken = 0;
        let head = self.next(&mut taken).await?;
        let columns = match head.first() {
            Some(0x00) => return Ok(Rows::default()),
            Some(0xFB) => return Err(protocol("the server asks for a local file")),
            _ => ParseBuf(head).checked_eat_lenenc_int().and_then(|n| usize::try_from(n).ok()),
        };
        let columns = columns.filter(|n| (1..=Rows::MAX_COLUMNS).contains(n));
        let columns = columns.ok_or_else(|| protocol("an impossible number of columns"))?;

        let mut answer = Rows::default();
        for _ in 0..columns {
            let name = column_name(self.next(&mut taken).await?);
            answer.columns.push(name.ok_or_else(|| protocol("malformed column definition"))?);
        }
        if end_of_part(self.next(&mut taken).await?).is_none() {
            return Err(protocol("no end of the column definitions"));
        }
        loop {
            let packet = self.next(&mut taken).await?;
            match end_of_part(packet) {
                Some(status) if status & MORE_RESULTS != 0 => return Err(protocol("more than one result")),
                Some(_) => return Ok(answer),
                None => {}
            }
            let row = text_row(packet, columns).ok_or_else(|| protocol("malformed row"))?;
            if (answer.rows.len() + 1) * columns > Rows::MAX_CELLS {
                return Err(protocol("too many rows"));
            }
            answer.rows.push(row);
        }
    }

    /// The next packet of an answer; an ERR packet, and more than [`MAX_PACKET`] bytes in all, are errors.
    async fn next(&mut self, taken: &mut usize) -> Result<&[u8], Error> {
        let packet = self.wire.packet().await.map_err(broken(Phase::Command))?;
        *taken += packet.len();
        if *taken > MAX_PACKET {
            return Err(protocol("answer too long"));
        }
        match ServerError::parse(packet) {
            Some(error) => Err(Error::Server { phase: Phase::Command, error }),
            None if packet.is_empty() => Err(protocol("empty packet")),
            None => Ok(packet),
        }
    }
}

/// A server that has greeted; a step of its own, so that its caller knows which of the two hangs.
#[derive(Debug)]
pub struct Greeted {
    wire: Wire<Stream>,
    greeting: Greeting,
    is_local: bool,
}

impl Greeted {
    /// Reads the greeting from a freshly connected stream.
    pub async fn new(stream: Stream) -> Result<Self, Error> {
        let is_local = matches!(stream, Stream::Plain(Plain::Unix(_)));
        let mut wire = Wire::new(stream);
        let greeting = read_greeting(&mut wire).await?;
        Ok(Self { wire, greeting, is_local })
    }

    /// Logs in; with `tls` only over TLS, with that configuration and the host's name or address as the user wrote it.
    pub async fn login(
        self,
        credentials: Credentials<'_>,
        tls: Option<(&ClientTls, &str)>,
    ) -> Result<Connection, Error> {
        let Self { mut wire, greeting, is_local } = self;
        let link = match (tls, is_local) {
            (Some(_), _) => Link::Tls,
            (None, true) => Link::Local,
            (None, false) => Link::Clear,
        };
        let mut login = Login::new(&greeting, credentials, link)?;
        if let Some((tls, host)) = tls {
            let (encrypted, certificate) = start_tls(wire, &login.ssl_request(), tls, host).await?;
            wire = encrypted;
            if let ServerCertificate::SelfSigned(digest) = certificate {
                login.set_link(Link::SelfSigned(digest));
            }
        }
        let response = login.response()?;
        send(&mut wire, Phase::Login, &response).await?;
        loop {
            let packet = wire.packet().await.map_err(broken(Phase::Login))?;
            match login.step(packet)? {
                Step::Send(answer) => send(&mut wire, Phase::Login, &answer).await?,
                Step::Wait => {}
                Step::LoggedIn => break,
            }
        }
        Ok(Connection { wire, usable: true, is_mariadb: greeting.is_mariadb })
    }
}

/// The low byte of the status flags, if this is an EOF packet: 0xFE and shorter than any row that starts so.
fn end_of_part(packet: &[u8]) -> Option<u8> {
    match packet {
        [0xFE, rest @ ..] if packet.len() < 9 => Some(rest.get(2).copied().unwrap_or(0)),
        _ => None,
    }
}

async fn read_greeting(wire: &mut Wire<Stream>) -> Result<Greeting, Error> {
    let len = loop {
        match classify_first_packet(wire.unread()) {
            FirstPacket::Greeting { len } => break len,
            FirstPacket::Err(error) => return Err(Error::Server { phase: Phase::Greeting, error }),
            FirstPacket::Garbage(what) => return Err(Error::protocol(Phase::Greeting, what)),
            FirstPacket::Incomplete { .. } => wire.fill().await.map_err(|e| Error::io(Phase::Greeting, e))?,
        }
    };
    let payload = wire.unread().get(4..len).unwrap_or_default();
    let greeting = Greeting::parse(payload).map_err(|what| Error::protocol(Phase::Greeting, what))?;
    wire.consume_packet(len);
    if !wire.unread().is_empty() {
        return Err(Error::protocol(Phase::Greeting, "bytes behind the greeting"));
    }
    Ok(greeting)
}

async fn start_tls(
    mut wire: Wire<Stream>,
    ssl_request: &[u8],
    tls: &ClientTls,
    host: &str,
) -> Result<(Wire<Stream>, ServerCertificate), Error> {
    send(&mut wire, Phase::Login, ssl_request).await?;
    let sequence = wire.sequence();
    let Some(Stream::Plain(socket)) = wire.into_stream() else {
        return Err(Error::protocol(Phase::Login, "bytes in clear where TLS begins"));
    };
    let (stream, certificate) = tls.connect(host, socket).await.map_err(|e| Error::io(Phase::Login, e))?;
    Ok((Wire::resumed(Stream::from(stream), sequence), certificate))
}

/// Sends a packet. Where that fails because the server has hung up, what it said before it did (an ERR packet, a TLS
/// alert) tells more than the broken pipe.
async fn send(wire: &mut Wire<Stream>, phase: Phase, payload: &[u8]) -> Result<(), Error> {
    let sending = match wire.send(payload).await {
        Ok(()) => return Ok(()),
        Err(Broken::Protocol(what)) => return Err(Error::protocol(phase, what)),
        Err(Broken::Io(e)) => e,
    };
    // Does not wait: reading from a broken connection gives what is left, then its end.
    let said = match wire.packet().await {
        Ok(packet) => ServerError::parse(packet).map(|error| Error::Server { phase, error }),
        Err(reading) => Some(broken(phase)(reading)).filter(|e| matches!(e, Error::Tls(_))),
    };
    Err(said.unwrap_or_else(|| Error::io(phase, sending)))
}

fn broken(phase: Phase) -> impl FnOnce(Broken) -> Error {
    move |b| match b {
        Broken::Io(e) => Error::io(phase, e),
        Broken::Protocol(what) => Error::protocol(phase, what),
    }
}

fn protocol(what: &'static str) -> Error {
    Error::protocol(Phase::Command, what)
}
