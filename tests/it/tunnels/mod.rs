//! Services with TLS through the running process: who is let in, what is lost, what changes under a live link.
//!
//! | file | what |
//! |---|---|
//! | `certificates` | each kind of certificate that is refused: what its owner is told, what the log and the counters say |
//! | `starts` | targets that fail after the connect: not a byte of the local peer goes to them |
//! | `live` | files that change, and certificates that expire, under running sessions |
//! | `conf` | files of stunnel, and their log |
//! | `jail` | the same inside a chroot |
//! | `links` | how a link ends, and that its end is told as what it was |
//! | `vanish` | the network behind it goes silent |
//!
//! The other end of a connection is rustls's own buffered interface over a blocking socket, which shares no line with
//! `src/net/tls`.

mod certificates;
mod conf;
mod jail;
mod links;
mod live;
mod starts;
mod vanish;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::fakes::LONG;
use crate::harness::{Galeway, ports, watchdog};
use crate::peer::tls::{Authority, Identity, file};

/// What servers here are called in their certificates.
const NAME: &str = "db1";

/// A directory with a CA (`ca.pem`) and a server's certificate (`server.pem`, `server.key`), and what both are made of.
struct Site {
    dir: PathBuf,
    ca: Authority,
    server: Identity,
}

impl Site {
    fn new() -> Self {
        let dir = watchdog::fresh_path("tunnels");
        std::fs::create_dir(&dir).unwrap();
        let ca = Authority::new("site");
        let server = ca.issue(NAME, &[NAME]);
        let site = Self { dir, ca, server };
        site.put("ca.pem", &site.ca.pem());
        site.keep("server", &site.server);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Puts a file in place at once, as tools that renew certificates do.
    fn put(&self, name: &str, text: &str) {
        let fresh = file(&self.dir, "fresh", text);
        std::fs::rename(fresh, self.path(name)).unwrap();
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn keep(&self, name: &str, identity: &Identity) {
        self.put(&format!("{name}.key"), &identity.key_pem);
        self.put(&format!("{name}.pem"), &identity.certificate_pem);
    }

    /// A client's certificate.
    fn issue(&self, name: &str) -> Identity {
        self.ca.issue(name, &[name])
    }

    /// A key of the configuration whose value is a file of this directory.
    fn line(&self, key: &str, name: &str) -> String {
        format!("{key} = \"{}\"\n", self.path(name).display())
    }

    /// The table of a server end's TLS that shows the server's certificate and asks for one of the CA.
    fn accepting(&self, service: &str, lines: &str) -> String {
        let files =
            self.line("cert", "server.pem") + &self.line("key", "server.key") + &self.line("client_ca", "ca.pem");
        format!("[service.{service}.tls]\n{files}{lines}\n")
    }

    /// The table of a client end's TLS that trusts the CA. With `who` it shows that certificate.
    fn connecting(&self, service: &str, who: Option<&str>, lines: &str) -> String {
        let mut files = self.line("ca", "ca.pem") + &format!("server_name = \"{NAME}\"\n");
        if let Some(who) = who {
            files += &self.line("cert", &format!("{who}.pem"));
            files += &self.line("key", &format!("{who}.key"));
        }
        format!("[service.{service}.connect_tls]\n{files}{lines}\n")
    }

    /// A client that trusts the CA and shows this certificate.
    fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![identity.certificate.clone()];
                builder.with_client_auth_cert(chain, identity.key.clone_key()).unwrap()
            }
        })
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The section of a service, without its TLS, and where its clients connect.
fn service(name: &str, connect: &[SocketAddr], lines: &str) -> (SocketAddr, String) {
    let accept = local(ports::free());
    let quoted: Vec<_> = connect.iter().map(|a| format!("\"{a}\"")).collect();
    let text = format!("[service.{name}]\naccept = \"{accept}\"\nconnect = [{}]\n{lines}\n", quoted.join(", "));
    (accept, text)
}

/// A process with these sections, ready.
#[track_caller]
fn galeway(sections: &str) -> Galeway {
    let galeway = Galeway::sections(sections);
    galeway.wait_ready();
    galeway
}

/// Handshakes of this side with this result so far.
fn handshakes(galeway: &Galeway, service: &str, side: &str, result: &str) -> f64 {
    let labels = [("service", service), ("side", side), ("result", result)];
    galeway.metric("galeway_tls_handshakes_total", &labels)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

#[track_caller]
fn tcp(addr: SocketAddr) -> TcpStream {
    patient(TcpStream::connect_timeout(&addr, LONG).unwrap())
}

type Client = StreamOwned<ClientConnection, TcpStream>;
type Server = StreamOwned<ServerConnection, TcpStream>;

/// A client's connection, its handshake done as far as a client of TLS 1.3 knows.
fn dial(addr: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Client> {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp(addr));
    client.conn.complete_io(&mut client.sock)?;
    Ok(client)
}

/// A server's, its handshake done.
fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Server> {
    let mut server = StreamOwned::new(ServerConnection::new(config).unwrap(), patient(stream));
    server.conn.complete_io(&mut server.sock)?;
    Ok(server)
}

/// The alert inside an error of rustls.
#[track_caller]
fn alert(e: &io::Error) -> AlertDescription {
    match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {e:?}"),
    }
}

/// Bytes that no shift or loss leaves equal.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

/// Exchanges a byte each way.
fn exchange(a: &mut (impl Read + Write), b: &mut (impl Read + Write)) -> io::Result<()> {
    let pass = |from: &mut dyn Write, to: &mut dyn Read| {
        from.write_all(&[1])?;
        from.flush()?;
        to.read_exact(&mut [0])
    };
    pass(a, b)?;
    pass(b, a)
}

/// Answers every byte with itself, until the end of data; as long as the tests run.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind(local(0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = io::copy(&mut from, &mut to).and_then(|_| to.shutdown(std::net::Shutdown::Write));
            });
        }
    });
    addr
}

/// The text of a file's pin as the configuration wants it, by the `openssl` command.
fn pin(certificate: &Path) -> String {
    let script = "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";
    let done = std::process::Command::new("sh").args(["-c", script]).arg(certificate).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    format!("sha256/{}", String::from_utf8(done.stdout).unwrap().trim())
}
