//! OpenSSL at the other end.

use std::io::{Read, Write as _};
use std::process::{Child, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;

use super::*;

/// A program that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(dir: &Dir, arguments: &str) -> Running {
    let mut program = Command::new("openssl");
    program.args(arguments.split(' ')).current_dir(&dir.0);
    Running(program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

impl Running {
    fn say(&mut self, text: &str) {
        self.0.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// What it prints, to the end, or of the first `most` bytes.
    async fn printed(pipe: impl Read + Send + 'static, most: u64) -> String {
        let read = move || {
            let mut text = String::new();
            pipe.take(most).read_to_string(&mut text).map(|_| text)
        };
        spawn_blocking(read).await.unwrap().unwrap()
    }
}

/// Files of a CA, and of both ends' certificates; another CA's client.
fn files() -> (Dir, Ca) {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    dir.write("ca.pem", &ca.pem);
    identity(&dir, "server", &ca.issue("db1.example.org"));
    identity(&dir, "client", &ca.issue("client"));
    identity(&dir, "foreign", &Ca::root("other").issue("client"));
    (dir, ca)
}

fn known(dir: &Dir, name: &str) -> Identity {
    Identity { cert: dir.path(&format!("{name}.pem")), key: dir.path(&format!("{name}.key")), passphrase: None }
}

#[tokio::test]
async fn a_client_of_openssl_gets_through_and_is_told_where_it_does_not() {
    let (dir, _ca) = files();
    let protocol = TlsProtocol { min_version: TlsVersion::V12, ..protocol() };
    let rules = chain_to(&dir.path("ca.pem"));
    let accept = TlsAccept { protocol, ..accepting(known(&dir, "server"), ClientAuth::Require, rules) };
    let acceptor = Acceptor::new(&accept).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let connect = format!(
            "s_client -quiet -no_ign_eof -connect 127.0.0.1:{port} -CAfile ca.pem -verify_return_error {version}"
        );
        let mut client =
            openssl(&dir, &format!("{connect} -cert client.pem -key client.key -servername db1.example.org"));
        let mut accepted = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        assert_eq!(accepted.agreed.version, name);
        assert_eq!(accepted.peer.as_ref().unwrap().subject(), "/O=Galeway/CN=client");
        client.say("ping\n");
        let mut bytes = [0; 5];
        accepted.stream.read_exact(&mut bytes).await.unwrap();
        accepted.stream.write_all(b"pong\n").await.unwrap();
        accepted.stream.shutdown().await.unwrap();
        let out = Running::printed(client.0.stdout.take().unwrap(), 5).await;
        assert_eq!((&bytes, out.as_str()), (b"ping\n", "pong\n"));
        let mut client = openssl(&dir, &format!("{connect} -cert foreign.pem -key foreign.key"));
        let error = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap_err();
        assert_eq!(error.error.result(), "certificate");
        let said = Running::printed(client.0.stderr.take().unwrap(), 100_000).await;
        assert!(said.contains("alert unknown ca"), "{said}");
    }
    // Nothing older than what is allowed.
    let strict = Acceptor::new(&TlsAccept { protocol: super::protocol(), ..accept }).unwrap();
    let _client = openssl(&dir, &format!("s_client -connect 127.0.0.1:{port} -tls1_2"));
    let error = strict.accept(listener.accept().await.unwrap().0).await.unwrap_err();
    assert_eq!(error.error.result(), "version");
}

/// `openssl s_server` that demands a client's certificate, once it listens.
async fn server(dir: &Dir, more: &str) -> (Running, u16) {
    // The kernel's choice, given back: s_server takes no socket over.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let server = openssl(
        dir,
        &format!(
            "s_server -quiet -accept 127.0.0.1:{port} -cert server.pem -key server.key -CAfile ca.pem -Verify 1 -verify_return_error{more}"
        ),
    );
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return (server, port);
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("openssl s_server does not listen");
}

#[tokio::test]
async fn a_server_of_openssl_lets_us_in_or_its_refusal_is_heard_before_a_byte_is_sent() {
    let (dir, _ca) = files();
    let rules = chain_to(&dir.path("ca.pem"));
    let end =
        |name: &str| Connector::new(&TlsConnect { names: true, ..connecting(Some(known(&dir, name)), rules.clone()) });
    for more in ["", " -num_tickets 0"] {
        let (mut server, port) = server(&dir, more).await;
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut connected = connect(&end("client").unwrap(), "db1.example.org", tcp).await.unwrap();
        assert_eq!(connected.peer.subject(), "/O=Galeway/CN=db1.example.org");
        connected.stream.write_all(b"ping\n").await.unwrap();
        connected.stream.flush().await.unwrap();
        assert_eq!(Running::printed(server.0.stdout.take().unwrap(), 5).await, "ping\n");
        drop(connected);
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let error = connect(&end("foreign").unwrap(), "db1.example.org", tcp).await.unwrap_err();
        assert_eq!(error.to_string(), "the peer rejected our certificate (alert unknown_ca): its log says why");
    }
}
