//! Certificates that MariaDB 11.8 makes itself, verified by the proof of the password; and MySQL 9 over its Unix socket. The servers
//! come out of roots.

use std::net::SocketAddr;
use std::sync::Arc;

use galeway::config::{MonitorTls, TlsMode};
use galeway::net::Plain;
use galeway::net::tls::ClientTls;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::logins::checked_at;
use crate::harness::cluster::standalone_out_of;
use crate::harness::{Galeway, Mysql, Root, Settings, turn_with_roots};
use crate::peer::tls::{Identity, Version, server};

/// MariaDB's own key has 4096 bits, which an unoptimised build on a busy machine takes its time for.
const MODES: [&str; 2] = ["tls = \"verify-ca\"\ntimeout = \"5s\"", "tls = \"verify-identity\"\ntimeout = \"5s\""];

fn login(user: &str, password: &str) -> String {
    format!("user = \"{user}\"\npassword = \"{password}\"")
}

/// Answers in the place of a server: TLS of its own towards the client, TLS towards the server, and every byte relayed.
async fn relay(mut client: TcpStream, upstream: SocketAddr, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    // The greeting and the request for TLS are in clear.
    relay_packet(&mut server, &mut client).await?;
    relay_packet(&mut client, &mut server).await?;
    let mut client = TlsAcceptor::from(config).accept(client).await?;
    let any = MonitorTls { mode: TlsMode::Require, ca: None, identity: None };
    let (mut server, _) = ClientTls::new(&any).unwrap().unwrap().connect("db1", Plain::Tcp(server)).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn relay_packet(from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
    let mut header = [0; 4];
    from.read_exact(&mut header).await?;
    let [l0, l1, l2, _] = header;
    let mut payload = vec![0; u32::from_le_bytes([l0, l1, l2, 0]) as usize];
    from.read_exact(&mut payload).await?;
    to.write_all(&[&header[..], &payload].concat()).await
}

/// Where such a relay listens. It ends with the test's process.
fn impostor(upstream: SocketAddr) -> SocketAddr {
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let config = server(&Identity::self_signed("MariaDB Server"), Version::Tls13, None);
            while let Ok((client, _)) = listener.accept().await {
                let _ = relay(client, upstream, config.clone()).await;
            }
        });
    });
    address.recv().unwrap()
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_certificate_that_mariadb_made_itself_is_verified_by_the_password_and_an_impostor_is_found_out() {
    let Some(_turn) = turn_with_roots() else { return };
    let node = standalone_out_of(Root::Mariadb, &["--plugin-load-add=auth_parsec", "--plugin-load-add=auth_ed25519"]);
    let impostor = impostor(node.addr());
    for (user, plugin) in [("nat", "mysql_native_password"), ("ed", "ed25519"), ("par", "parsec")] {
        node.sql(&format!("CREATE USER {user}@'%' IDENTIFIED VIA {plugin} USING PASSWORD('secret')"));
        for mode in MODES {
            let seen = checked_at(node.addr(), &login(user, "secret"), mode);
            assert_eq!(seen, ("eligible".into(), "Synced".into()), "{user} {mode}");
            let (verdict, reason) = checked_at(impostor, &login(user, "secret"), mode);
            println!("{user} {mode}: {verdict}: {reason}");
            assert!(reason.contains("the server's proof is wrong"), "{user} {mode}: {verdict}: {reason}");
        }
        let (verdict, reason) = checked_at(node.addr(), &login(user, "wrong"), MODES[1]);
        assert!(reason.contains("login refused (1045 "), "{user}: {verdict}: {reason}");
    }
    // What believes any certificate believes the impostor too.
    assert_eq!(checked_at(impostor, &login("nat", "secret"), "tls = \"require\"\ntimeout = \"5s\"").0, "eligible");
    node.sql("CREATE USER none@'%'");
    let (_, reason) = checked_at(node.addr(), &login("none", ""), MODES[0]);
    assert!(reason.contains("an account without a password cannot prove it"), "{reason}");
}

/// MySQL counts its socket as a secure transport: it takes the password in clear there, and reads an encrypted one as wrong.
#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn the_check_logs_in_over_the_socket_of_a_mysql_that_does_not_remember_the_account() {
    let Some(_turn) = turn_with_roots() else { return };
    let mysql = Mysql::start(1, &[]);
    mysql.sql("GRANT REPLICATION CLIENT ON *.* TO monitor@'%'");
    mysql.sql("FLUSH PRIVILEGES");
    let node = format!("{{ address = \"unix:{}\", name = \"m1\" }}", mysql.socket().display());
    let galeway = Galeway::spawn_nodes(&[node], Settings { monitor: "kind = \"mysql\"", ..Settings::default() });
    galeway.wait_ready();
    assert_eq!(galeway.node("m1")["reason"], "takes writes (read_only=OFF)");
}
