//! One connection of a scripted server: packets out, packets in.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// MySQL, "Capabilities Flags".
pub(crate) mod caps {
    pub(crate) const SSL: u32 = 0x0800;
    pub(crate) const CONNECT_WITH_DB: u32 = 0x0008;
    pub(crate) const PLUGIN_AUTH: u32 = 0x0008_0000;
    pub(crate) const PLUGIN_AUTH_LENENC: u32 = 0x0020_0000;
    pub(crate) const CONNECT_ATTRS: u32 = 0x0010_0000;
    pub(crate) const DEPRECATE_EOF: u32 = 0x0100_0000;
    /// What a MariaDB 10.11 without TLS says, less compression.
    pub(crate) const SERVER: u32 = 0x81ff_f7de;
}

/// A server's greeting (MySQL, "Protocol::HandshakeV10").
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    pub(crate) version: String,
    pub(crate) connection_id: u32,
    pub(crate) capabilities: u32,
    pub(crate) plugin: String,
    pub(crate) nonce: [u8; 20],
}

impl Default for Greeting {
    fn default() -> Self {
        Self {
            version: "5.5.5-10.11.19-MariaDB-fake".into(),
            connection_id: 7,
            capabilities: caps::SERVER,
            plugin: "mysql_native_password".into(),
            nonce: *b"0123456789abcdefghij",
        }
    }
}

impl Greeting {
    /// As a MySQL 8 greets.
    pub(crate) fn mysql8() -> Self {
        Self { version: "8.0.42".into(), plugin: "caching_sha2_password".into(), ..Self::default() }
    }

    /// The same, offering TLS.
    pub(crate) fn with_tls(mut self) -> Self {
        self.capabilities |= caps::SSL;
        self
    }

    /// The packet's payload.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let caps = self.capabilities.to_le_bytes();
        let mut p = vec![10];
        p.extend(self.version.as_bytes());
        p.push(0);
        p.extend(self.connection_id.to_le_bytes());
        p.extend(&self.nonce[..8]);
        p.push(0);
        p.extend([caps[0], caps[1], 45, 2, 0, caps[2], caps[3], 21]);
        p.extend([0; 10]);
        p.extend(&self.nonce[8..]);
        p.push(0);
        p.extend(self.plugin.as_bytes());
        p.push(0);
        p
    }

    /// The whole packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        packet(0, &self.payload())
    }
}

/// A header and a payload.
pub(crate) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes[3] = sequence;
    bytes.extend(payload);
    bytes
}

/// A length-encoded string.
fn lenenc(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len();
    let mut out = match len {
        0..=250 => vec![len as u8],
        251..=0xffff => vec![0xfc, len as u8, (len >> 8) as u8],
        _ => vec![0xfd, len as u8, (len >> 8) as u8, (len >> 16) as u8],
    };
    out.extend(bytes);
    out
}

/// What a client's login says (MySQL, "Protocol::HandshakeResponse41").
#[derive(Debug, Clone)]
pub(crate) struct LoginRequest {
    pub(crate) capabilities: u32,
    pub(crate) user: String,
    pub(crate) answer: Vec<u8>,
    pub(crate) plugin: String,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's connection.
pub(crate) struct Conn {
    /// Where the client comes from.
    pub(crate) from: Option<IpAddr>,
    stream: Option<Stream>,
    sequence: u8,
}

impl Conn {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let from = stream.peer_addr().ok().map(|addr| addr.ip());
        Self { from, stream: Some(Stream::Plain(stream)), sequence: 0 }
    }

    fn io(&mut self) -> Pin<&mut dyn Io> {
        match self.stream.as_mut().expect("not closed") {
            Stream::Plain(s) => Pin::new(s),
            Stream::Tls(s) => Pin::new(&mut **s),
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io().write_all(bytes).await?;
        self.io().flush().await
    }

    /// Sends a packet with the next sequence number.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let bytes = packet(self.sequence, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.raw(&bytes).await
    }

    /// Reads a packet, whose sequence number must be the next.
    pub(crate) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.io().read_exact(&mut header).await?;
        let [l0, l1, l2, sequence] = header;
        assert_eq!(sequence, self.sequence, "the client's sequence number");
        self.sequence = sequence.wrapping_add(1);
        let mut payload = vec![0; u32::from_le_bytes([l0, l1, l2, 0]) as usize];
        self.io().read_exact(&mut payload).await?;
        Ok(payload)
    }

    /// Reads a command: a packet that begins at sequence number 0.
    pub(crate) async fn command(&mut self) -> io::Result<Vec<u8>> {
        self.sequence = 0;
        self.read().await
    }

    /// Greets.
    pub(crate) async fn greet(&mut self, greeting: &Greeting) -> io::Result<()> {
        self.send(&greeting.payload()).await
    }

    /// Reads the client's login.
    pub(crate) async fn login(&mut self) -> io::Result<LoginRequest> {
        let payload = self.read().await?;
        assert!(payload.len() > 32, "a whole login, not a request for TLS");
        let capabilities = u32::from_le_bytes(payload[..4].try_into().unwrap());
        let (user, rest) = nul_string(&payload[32..]);
        // The length is one byte for every answer there is, length-encoded or not.
        let (len, rest) = rest.split_first().unwrap();
        let (answer, mut rest) = rest.split_at(usize::from(*len));
        if capabilities & caps::CONNECT_WITH_DB != 0 {
            rest = nul_string(rest).1;
        }
        let plugin =
            if capabilities & caps::PLUGIN_AUTH != 0 { nul_string(rest).0 } else { "mysql_native_password".into() };
        Ok(LoginRequest { capabilities, user, answer: answer.to_vec(), plugin })
    }

    /// Reads the request for TLS and does the server's part of the handshake.
    pub(crate) async fn start_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let request = self.read().await?;
        assert_eq!(request.len(), 32, "a request for TLS");
        assert_ne!(u32::from_le_bytes(request[..4].try_into().unwrap()) & caps::SSL, 0);
        let Some(Stream::Plain(tcp)) = self.stream.take() else { panic!("TLS twice") };
        let tls = TlsAcceptor::from(config).accept(tcp).await?;
        self.stream = Some(Stream::Tls(Box::new(tls)));
        Ok(())
    }

    /// OK.
    pub(crate) async fn ok(&mut self) -> io::Result<()> {
        self.send(&[0, 0, 0, 2, 0, 0, 0]).await
    }

    /// ERR.
    pub(crate) async fn err(&mut self, code: u16, state: &str, text: &str) -> io::Result<()> {
        let payload = [&[0xff][..], &code.to_le_bytes(), b"#", state.as_bytes(), text.as_bytes()].concat();
        self.send(&payload).await
    }

    /// Asks the client to answer as another plugin, and reads its answer.
    pub(crate) async fn switch(&mut self, plugin: &str, data: &[u8]) -> io::Result<Vec<u8>> {
        self.send(&[b"\xfe", plugin.as_bytes(), b"\0", data].concat()).await?;
        self.read().await
    }

    /// More data for the client's plugin.
    pub(crate) async fn more_data(&mut self, data: &[u8]) -> io::Result<()> {
        self.send(&[b"\x01", data].concat()).await
    }

    /// A result set of text, in the form without CLIENT_DEPRECATE_EOF.
    pub(crate) async fn rows(&mut self, columns: &[&str], rows: &[Vec<Option<String>>]) -> io::Result<()> {
        const EOF: [u8; 5] = [0xfe, 0, 0, 2, 0];
        let mut packets = vec![vec![columns.len() as u8]];
        for column in columns {
            let mut p = Vec::new();
            for part in ["def", "", "t", "t", column, column] {
                p.extend(lenenc(part.as_bytes()));
            }
            p.extend([0x0c, 45, 0, 0xff, 0xff, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
            packets.push(p);
        }
        packets.push(EOF.to_vec());
        for row in rows {
            let values = row.iter().map(|v| v.as_ref().map_or_else(|| vec![0xfb], |v| lenenc(v.as_bytes())));
            packets.push(values.collect::<Vec<_>>().concat());
        }
        packets.push(EOF.to_vec());
        let mut bytes = Vec::new();
        for payload in packets {
            bytes.extend(packet(self.sequence, &payload));
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.raw(&bytes).await
    }

    /// Says nothing more until the client hangs up; returns what it sent meanwhile.
    pub(crate) async fn hang(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.io().read_to_end(&mut rest).await?;
        Ok(rest)
    }

    /// Hangs for a while.
    pub(crate) async fn pause(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Hangs up with a reset.
    pub(crate) fn reset(mut self) {
        if let Some(Stream::Plain(tcp)) = self.stream.take() {
            SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

fn nul_string(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|b| *b == 0).expect("a NUL");
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 1..])
}
