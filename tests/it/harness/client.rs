//! A plain MySQL client over `std`: small, and independent of `src/mysql` on purpose.
//!
//! What drivers do not tell and the tests must know: whether an attempt failed **before** the server's greeting (which
//! a balancer can prevent) or **after** it (which nobody can prevent at layer 4).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mysql_common::auth::plugins::caching_sha2_password::scramble_sha256;
use mysql_common::auth::plugins::mysql_native_password::scramble_native;
use socket2::{Domain, Socket, Type};

/// One row: text, or `None` for NULL.
pub type Row = Vec<Option<String>>;

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No greeting was read: a failed connect.
    BeforeGreeting,
    /// A node had greeted.
    AfterGreeting,
}

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// An ERR packet.
    Server { code: u16, state: String, message: String },
    /// The connection: refused, reset, timed out, closed.
    Io(io::Error),
    /// Not what the protocol allows, or what this client can do.
    Protocol(String),
}

impl Error {
    /// The server's error code, if it was the server.
    pub fn code(&self) -> Option<u16> {
        if let Self::Server { code, .. } = self { Some(*code) } else { None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { code, state, message } => write!(f, "ERROR {code} ({state}): {message}"),
            Self::Io(e) => write!(f, "{e}"),
            Self::Protocol(what) => write!(f, "protocol: {what}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// An attempt to connect that failed.
#[derive(Debug)]
pub struct Failure {
    pub stage: Stage,
    pub error: Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.stage, self.error)
    }
}

/// A server's first packet.
#[derive(Debug, Clone)]
pub struct Greeting {
    pub version: String,
    pub connection_id: u32,
    pub plugin: String,
    nonce: Vec<u8>,
}

trait Stream: Read + Write + Send + fmt::Debug {
    /// For each read from now on.
    fn limit_reads(&self, limit: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit_reads(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

impl Stream for UnixStream {
    fn limit_reads(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

/// A connection that was greeted, and after [`Conn::login`] may query.
#[derive(Debug)]
pub struct Conn {
    stream: Box<dyn Stream>,
    pub greeting: Greeting,
    /// Which local address the attempt came from; `None` over a Unix socket.
    pub local: Option<SocketAddr>,
}

impl Conn {
    /// Connects, reads the greeting and logs in as `app`. `limit` holds for the connect and for each read.
    pub fn app(addr: SocketAddr, limit: Duration) -> Result<Self, Failure> {
        Self::connect(addr, "app", "app", limit)
    }

    /// Connects, reads the greeting and logs in.
    pub fn connect(addr: SocketAddr, user: &str, password: &str, limit: Duration) -> Result<Self, Failure> {
        Self::greet(addr, limit)?.login(user, password).map_err(|error| Failure { stage: Stage::AfterGreeting, error })
    }

    /// Connects and reads the greeting.
    pub fn greet(addr: SocketAddr, limit: Duration) -> Result<Self, Failure> {
        let go = || -> Result<Self, Error> {
            let stream = TcpStream::connect_timeout(&addr, limit)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            let local = stream.local_addr().ok();
            Self::over(Box::new(stream), local)
        };
        go().map_err(|error| Failure { stage: Stage::BeforeGreeting, error })
    }

    /// Connects from this address, and reads the greeting.
    pub fn greet_from(source: IpAddr, addr: SocketAddr, limit: Duration) -> Result<Self, Failure> {
        let go = || -> Result<Self, Error> {
            let stream = tcp_from(source, addr)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            let local = stream.local_addr().ok();
            Self::over(Box::new(stream), local)
        };
        go().map_err(|error| Failure { stage: Stage::BeforeGreeting, error })
    }

    /// Over a Unix socket as root without a password: the harness's way into a node.
    pub fn root(socket: &Path, limit: Duration) -> Result<Self, Error> {
        Self::at(socket, "root", "", limit)
    }

    /// Over a Unix socket.
    pub fn at(socket: &Path, user: &str, password: &str, limit: Duration) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Self::over(Box::new(stream), None)?.login(user, password)
    }

    fn over(mut stream: Box<dyn Stream>, local: Option<SocketAddr>) -> Result<Self, Error> {
        let (_, packet) = read_packet(&mut *stream)?;
        let greeting = parse_greeting(&packet)?;
        Ok(Self { stream, greeting, local })
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Logs in with mysql_native_password, or with caching_sha2_password where the server asks for it: then by what the server
    /// remembers of an earlier login, or with the password as it is where the connection is a Unix socket.
    pub fn login(mut self, user: &str, password: &str) -> Result<Self, Error> {
        // LONG_PASSWORD, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH
        const CAPABILITIES: u32 = 0x0000_0001 | 0x0000_0200 | 0x0000_2000 | 0x0000_8000 | 0x0008_0000;
        let auth = scramble(NATIVE, &self.greeting.nonce, password)?;
        let mut packet = Vec::new();
        packet.extend(CAPABILITIES.to_le_bytes());
        packet.extend(0x0100_0000_u32.to_le_bytes());
        packet.push(45); // utf8mb4
        packet.extend([0; 23]);
        packet.extend(user.as_bytes());
        packet.push(0);
        packet.push(auth.len() as u8);
        packet.extend(auth);
        packet.extend(NATIVE.as_bytes());
        packet.push(0);
        write_packet(&mut *self.stream, 1, &packet)?;
        let (mut seq, mut reply) = read_packet(&mut *self.stream)?;
        if reply.first() == Some(&0xfe) {
            let mut rest = Cursor(&reply[1..]);
            let plugin = rest.text_to_nul()?;
            let auth = scramble(&plugin, &rest.0[..20], password)?;
            write_packet(&mut *self.stream, seq.wrapping_add(1), &auth)?;
            (seq, reply) = read_packet(&mut *self.stream)?;
        }
        // Of caching_sha2_password: 4 asks for the password itself, 3 says that the scramble was enough.
        if reply == [1, 4] {
            if self.local.is_some() {
                return Err(Error::Protocol(format!(
                    "the server does not remember {user}: log in at its socket first"
                )));
            }
            write_packet(&mut *self.stream, seq.wrapping_add(1), &[password.as_bytes(), &[0]].concat())?;
            (_, reply) = read_packet(&mut *self.stream)?;
        } else if reply == [1, 3] {
            (_, reply) = read_packet(&mut *self.stream)?;
        }
        match reply.first() {
            Some(0) => Ok(self),
            Some(0xff) => Err(parse_error(&reply)),
            other => Err(Error::Protocol(format!("after the login: {other:?}"))),
        }
    }

    /// One statement; its rows, or none.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.send(sql)?;
        self.answer()
    }

    /// Sends a statement and reads nothing: see [`Conn::answer`].
    pub fn send(&mut self, sql: &str) -> Result<(), Error> {
        let mut packet = vec![3];
        packet.extend(sql.as_bytes());
        write_packet(&mut *self.stream, 0, &packet)
    }

    /// What a statement that was sent before returned.
    pub fn answer(&mut self) -> Result<Vec<Row>, Error> {
        let (_, first) = read_packet(&mut *self.stream)?;
        let columns = match first.first() {
            Some(0) => return Ok(Vec::new()),
            Some(0xff) => return Err(parse_error(&first)),
            _ => Cursor(&first).length()?.ok_or_else(|| Error::Protocol("NULL columns".into()))?,
        };
        for _ in 0..=columns {
            read_packet(&mut *self.stream)?; // the definitions, and the EOF after them
        }
        let mut rows = Vec::new();
        loop {
            let (_, packet) = read_packet(&mut *self.stream)?;
            match packet.first() {
                Some(0xff) => return Err(parse_error(&packet)),
                Some(0xfe) if packet.len() < 9 => return Ok(rows),
                _ => {}
            }
            let mut rest = Cursor(&packet);
            rows.push((0..columns).map(|_| rest.field()).collect::<Result<Row, Error>>()?);
        }
    }

    /// Logs in through this service until it is on the node of this name.
    #[track_caller]
    pub fn on(service: SocketAddr, name: &str) -> Self {
        super::until(super::secs(20), "a session on the wanted node", || {
            let mut conn = Self::app(service, super::secs(20)).unwrap_or_else(|e| panic!("{e}"));
            (conn.one("SELECT @@wsrep_node_name").unwrap() == name).then_some(conn)
        })
    }

    /// The first field of the first row, as text.
    pub fn one(&mut self, sql: &str) -> Result<String, Error> {
        let rows = self.query(sql)?;
        let field = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        field.ok_or_else(|| Error::Protocol(format!("no value for {sql}")))
    }

    /// Waits for the end of an idle connection, orderly or not. False: nothing came within `limit`.
    #[track_caller]
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        self.stream.limit_reads(limit).unwrap();
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => true,
            Ok(_) => self.ends_within(limit), // a last word of the server
            Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// COM_QUIT and a close at once, whatever may still be on its way.
    pub fn leave(mut self) -> Result<(), Error> {
        write_packet(&mut *self.stream, 0, &[1])
    }

    /// COM_QUIT, then waits for the server's end of data, as libmysqlclient does not but a careful client may.
    pub fn quit(mut self) -> Result<(), Error> {
        write_packet(&mut *self.stream, 0, &[1])?;
        let mut rest = [0; 64];
        while self.stream.read(&mut rest)? > 0 {}
        Ok(())
    }
}

/// Connects from this address of this machine.
pub fn tcp_from(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

const NATIVE: &str = "mysql_native_password";

/// What a plugin answers to the server's random bytes.
fn scramble(plugin: &str, nonce: &[u8], password: &str) -> Result<Vec<u8>, Error> {
    match plugin {
        NATIVE => Ok(scramble_native(nonce, password.as_bytes()).map(|s| s.to_vec()).unwrap_or_default()),
        "caching_sha2_password" => {
            let nonce = nonce.try_into().map_err(|_| Error::Protocol(format!("a nonce of {} bytes", nonce.len())))?;
            Ok(scramble_sha256(nonce, password.as_bytes()).map(|s| s.to_vec()).unwrap_or_default())
        }
        _ => Err(Error::Protocol(format!("the account needs {plugin}"))),
    }
}

fn read_packet(stream: &mut dyn Stream) -> Result<(u8, Vec<u8>), Error> {
    let mut whole = Vec::new();
    loop {
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let start = whole.len();
        whole.resize(start + length, 0);
        stream.read_exact(&mut whole[start..])?;
        if length < 0xff_ffff {
            return Ok((header[3], whole));
        }
    }
}

fn write_packet(stream: &mut dyn Stream, seq: u8, payload: &[u8]) -> Result<(), Error> {
    assert!(payload.len() < 0xff_ffff, "this client sends one packet at a time");
    let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(seq);
    bytes.extend(payload);
    stream.write_all(&bytes)?;
    Ok(())
}

fn parse_greeting(packet: &[u8]) -> Result<Greeting, Error> {
    match packet.first() {
        Some(10) => {}
        Some(0xff) => return Err(parse_error(packet)),
        other => return Err(Error::Protocol(format!("in place of a greeting: {other:?}"))),
    }
    let mut rest = Cursor(&packet[1..]);
    let version = rest.text_to_nul()?;
    let connection_id = rest.take(4)?;
    let connection_id = u32::from_le_bytes(connection_id.try_into().unwrap());
    let mut nonce = rest.take(8)?.to_vec();
    rest.take(1 + 2 + 1 + 2 + 2)?; // filler, capabilities, charset, status, more capabilities
    let auth_length = usize::from(rest.take(1)?[0]);
    rest.take(10)?;
    let second = rest.take(auth_length.saturating_sub(8).max(13))?;
    nonce.extend(&second[..12]);
    let plugin = rest.text_to_nul().unwrap_or_default();
    Ok(Greeting { version, connection_id, plugin, nonce })
}

/// The `#08S01` marker may be there before capabilities are known, and may be missing.
fn parse_error(packet: &[u8]) -> Error {
    let code = packet.get(1..3).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let rest = packet.get(3..).unwrap_or_default();
    let (state, message) =
        if rest.first() == Some(&b'#') && rest.len() >= 6 { (&rest[1..6], &rest[6..]) } else { (&rest[..0], rest) };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Error::Server { code, state: text(state), message: text(message) }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| Error::Protocol("cut short".into()))?;
        self.0 = tail;
        Ok(head)
    }

    fn text_to_nul(&mut self) -> Result<String, Error> {
        let end = self.0.iter().position(|&b| b == 0).ok_or_else(|| Error::Protocol("no NUL".into()))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    /// A length-encoded integer; `None` is NULL.
    fn length(&mut self) -> Result<Option<usize>, Error> {
        let first = self.take(1)?[0];
        let bytes = match first {
            0xfb => return Ok(None),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            small => return Ok(Some(usize::from(small))),
        };
        Ok(Some(self.take(bytes)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b))))
    }

    fn field(&mut self) -> Result<Option<String>, Error> {
        let Some(length) = self.length()? else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(self.take(length)?).into_owned()))
    }
}
