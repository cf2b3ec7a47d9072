//! What the commands that talk to a running instance share: its address, and one HTTP request with one deadline.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::{ADMIN_SOCKET, HostPort, Key, Secret};

/// Where the admin address is when neither `--admin` nor the default socket is there.
const DEFAULT_TCP: (&str, u16) = ("127.0.0.1", 9306);

/// A status of a thousand nodes with all their wsrep values is some megabytes.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// The longest token or password file that is read.
const LONGEST_SECRET: u64 = 64 * 1024;

/// The deadline of one whole call for a person: name, connect, request, answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// An admin address as `--admin` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admin {
    /// `HOST:PORT`
    Tcp(HostPort),
    /// `unix:PATH`
    Unix(PathBuf),
}

impl Default for Admin {
    fn default() -> Self {
        let socket = Path::new(ADMIN_SOCKET);
        if socket.exists() {
            return Self::Unix(socket.to_owned());
        }
        let (host, port) = DEFAULT_TCP;
        Self::Tcp(HostPort { host: host.to_owned(), port })
    }
}

impl Admin {
    /// The one that was named; else what `GALEWAY_ADMIN` says, as it does to an instance that was started without a file;
    /// else the default.
    ///
    /// # Errors
    /// The variable holds no address.
    pub(super) fn of(named: Option<&Self>) -> Result<Self, String> {
        let variable = Key::Admin.variable();
        match (named, std::env::var_os(variable).filter(|text| !text.is_empty())) {
            (Some(named), _) => Ok(named.clone()),
            (None, None) => Ok(Self::default()),
            (None, Some(text)) => {
                let text = text.to_str().ok_or_else(|| format!("{variable} is not UTF-8 text"))?;
                text.parse().map(Self::reached).map_err(|e| format!("{variable}: {e}"))
            }
        }
    }

    /// Where an instance on this host is reached that listens there: on every address is on the loopback one.
    fn reached(self) -> Self {
        let Self::Tcp(address) = self else { return self };
        let host = match address.host.parse() {
            Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
            _ => address.host,
        };
        Self::Tcp(HostPort { host, port: address.port })
    }
}

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("unix: and no path".to_owned()) } else { Ok(Self::Unix(path.into())) };
        }
        let address: HostPort = text.parse().map_err(|e| format!("{e}; write HOST:PORT or unix:PATH"))?;
        // Where a node's port may be left out, 3306 is meant: never here.
        if !text.ends_with(&format!(":{}", address.port)) {
            return Err(format!("{text:?} has no port; write HOST:PORT or unix:PATH"));
        }
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("cannot connect: {source}{}", hint(.source))]
    Connect { source: io::Error },
    #[error("no HTTP answer: {0} (is this the [admin] address, and not a service's or a node's?)")]
    Http(#[source] hyper::Error),
    #[error("the answer broke off or is too long: {0}")]
    Body(String),
    #[error("the request cannot be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::PermissionDenied => " (join the group that owns the socket, or become root)",
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            " (does galeway run? --admin says where it listens)"
        }
        _ => "",
    }
}

/// A request to be made.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    /// JSON; empty = none.
    pub(super) body: String,
    pub(super) token: Option<Secret>,
}

impl Ask {
    pub(super) fn get(path: &str, token: Option<Secret>) -> Self {
        Self { method: Method::GET, path: path.to_owned(), body: String::new(), token }
    }

    pub(super) fn post(path: &str, body: String, token: Option<Secret>) -> Self {
        Self { method: Method::POST, path: path.to_owned(), body, token }
    }
}

/// An answer: its code, and its body as text.
pub(super) type Told = (u16, String);

/// Asks, on a runtime of its own; everything within `limit`.
pub(super) fn ask(admin: &Admin, ask: &Ask, limit: Duration) -> Result<Told, Failure> {
    on_runtime(call(admin, ask, limit))?
}

/// Does this on a runtime of its own.
pub(super) fn on_runtime<F: Future>(work: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let done = runtime.block_on(work);
    // A resolver that hangs must not hold up the end.
    runtime.shutdown_background();
    Ok(done)
}

/// Asks; everything within `limit`.
pub(super) async fn call(admin: &Admin, ask: &Ask, limit: Duration) -> Result<Told, Failure> {
    tokio::time::timeout(limit, exchange(admin, ask)).await.unwrap_or(Err(Failure::Late(limit)))
}

async fn exchange(admin: &Admin, ask: &Ask) -> Result<Told, Failure> {
    match admin {
        Admin::Tcp(address) => {
            let connected = TcpStream::connect((address.host.as_str(), address.port)).await;
            over(connected.map_err(|source| Failure::Connect { source })?, &address.to_string(), ask).await
        }
        Admin::Unix(path) => {
            over(UnixStream::connect(path).await.map_err(|source| Failure::Connect { source })?, "galeway", ask).await
        }
    }
}

async fn over<S>(stream: S, host: &str, ask: &Ask) -> Result<Told, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::builder().method(&ask.method).uri(&ask.path).header(HOST, host);
    if let Some(token) = &ask.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    if !ask.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(ask.body.clone())))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
    // Its errors come out of the request as well.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(Failure::Http)?;
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|e| Failure::Body(e.to_string()))?.to_bytes();
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

/// The one word of a file, without the newline at its end. `flag` names it in messages.
pub(super) fn secret_file(flag: &str, path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_SECRET + 1).read_to_string(&mut text));
    read.map_err(|e| format!("{flag} {}: {e}", path.display()))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST_SECRET) {
        return Err(format!("{flag} {}: longer than 64 kB: this is another file", path.display()));
    }
    Ok(text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).to_owned())
}

/// The token that `--token-file` names.
pub(super) fn token(file: Option<&Path>) -> Result<Option<Secret>, String> {
    let Some(path) = file else { return Ok(None) };
    let token = secret_file("--token-file", path)?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("--token-file {}: it must hold one word and nothing else", path.display()));
    }
    Ok(Some(Secret::new(token)))
}

/// A name within a path.
pub(super) fn encoded(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_a_host_and_port_or_a_socket() {
        let tcp = |host: &str, port| Ok(Admin::Tcp(HostPort { host: host.to_owned(), port }));
        assert_eq!("10.0.0.1:9306".parse(), tcp("10.0.0.1", 9306));
        assert_eq!("[::1]:9306".parse(), tcp("::1", 9306));
        assert_eq!("unix:/run/x.sock".parse(), Ok(Admin::Unix("/run/x.sock".into())));
        for wrong in ["", "host", "[::1]", "unix:", ":9306", "host:x", "http://host:9306"] {
            assert!(wrong.parse::<Admin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instance_on_every_address_is_asked_on_loopback() {
        let reached = |text: &str| text.parse::<Admin>().unwrap().reached().to_string();
        for (listens, asked) in [
            ("0.0.0.0:9306", "127.0.0.1:9306"),
            ("[::]:9306", "[::1]:9306"),
            ("10.0.0.1:9306", "10.0.0.1:9306"),
            ("localhost:9306", "localhost:9306"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
        ] {
            assert_eq!(reached(listens), asked);
        }
    }

    #[test]
    fn a_name_goes_into_a_path_and_comes_out_whole() {
        assert_eq!(encoded("db1.example-x_y"), "db1.example-x_y");
        assert_eq!(encoded("[::1]:3307"), "%5B%3A%3A1%5D%3A3307");
    }
}
