//! Logging in to a server and asking it, against a scripted one.
//!
//! The server's side of each plugin is written from the manuals (`peer/auth.rs`); published vectors and what real servers sent
//! stand in `src/mysql/login/tests.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use galeway::mysql::{Connection, Credentials, Error, Greeted, Meaning, Phase};
use galeway::net::Stream;
use galeway::net::tls::ClientTls;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{Conn, FakeNode, Greeting, Mode, Peer, auth};

const SECRET: Credentials<'static> = Credentials { user: "monitor", password: "secret" };

/// Connects and logs in; a test that hangs fails.
pub(crate) async fn dial(addr: SocketAddr, tls: Option<(&ClientTls, &str)>) -> Result<Connection, Error> {
    // A server that resets at once may do so before the connect has returned.
    let tcp = TcpStream::connect(addr).await.map_err(|source| Error::Io { phase: Phase::Greeting, source })?;
    let login = async { Greeted::new(Stream::from(tcp)).await?.login(SECRET, tls).await };
    timeout(Duration::from_secs(20), login).await.expect("an answer in time")
}

async fn refused(peer: &Peer) -> Error {
    dial(peer.addr(), None).await.unwrap_err()
}

/// Greets and lets anybody in.
async fn let_in(conn: &mut Conn) -> io::Result<()> {
    conn.greet(&Greeting::default()).await?;
    conn.login().await?;
    conn.ok().await
}

#[tokio::test]
async fn a_login_names_its_account_and_its_plugin() {
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::default()).await?;
        let login = conn.login().await?;
        assert_eq!((login.user.as_str(), login.plugin.as_str()), ("monitor", "mysql_native_password"));
        assert_eq!(login.answer.len(), 20);
        conn.ok().await?;
        assert_eq!(conn.command().await?, b"\x03SET @a = 1");
        conn.ok().await?;
        assert_eq!(conn.command().await?, b"\x01", "quit");
        assert_eq!(conn.hang().await?, b"", "and nothing after it");
        Ok(())
    });
    let mut connection = dial(peer.addr(), None).await.unwrap();
    connection.query("SET @a = 1").await.unwrap();
    connection.quit().await;
    peer.finish();
}

#[tokio::test]
async fn caching_sha2_takes_the_fast_path_when_the_server_remembers_the_account() {
    let peer = Peer::start(|mut conn| async move {
        let greeting = Greeting::mysql8();
        conn.greet(&greeting).await?;
        let login = conn.login().await?;
        assert_eq!(login.plugin, "caching_sha2_password");
        assert!(auth::fast_path_accepts("secret", &greeting.nonce, &login.answer));
        assert!(!auth::fast_path_accepts("other", &greeting.nonce, &login.answer));
        conn.more_data(&[3]).await?;
        conn.ok().await
    });
    dial(peer.addr(), None).await.unwrap();
    peer.finish();
}

#[tokio::test]
async fn caching_sha2_asks_for_the_servers_key_when_nothing_is_encrypted() {
    let peer = Peer::start(|mut conn| async move {
        let greeting = Greeting::mysql8();
        conn.greet(&greeting).await?;
        conn.login().await?;
        conn.more_data(&[4]).await?;
        assert_eq!(conn.read().await?, [2], "the request for the key");
        conn.more_data(auth::RSA_PUBLIC).await?;
        assert_eq!(auth::decrypt_password(&greeting.nonce, &conn.read().await?), b"secret\0");
        conn.ok().await
    });
    dial(peer.addr(), None).await.unwrap();
    peer.finish();
}

#[tokio::test]
async fn the_account_decides_the_plugin_by_a_switch() {
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::default()).await?;
        conn.login().await?;
        let nonce = b"abcdefghijABCDEFGHIJ";
        let answer = conn.switch("caching_sha2_password", &[&nonce[..], &[0]].concat()).await?;
        assert!(auth::fast_path_accepts("secret", nonce, &answer));
        conn.more_data(&[4]).await?;
        assert_eq!(conn.read().await?, [2]);
        conn.more_data(auth::RSA_PUBLIC).await?;
        assert_eq!(auth::decrypt_password(nonce, &conn.read().await?), b"secret\0");
        conn.ok().await
    });
    dial(peer.addr(), None).await.unwrap();
    peer.finish();
}

#[tokio::test]
async fn sha256_password_asks_for_the_servers_key_when_nothing_is_encrypted() {
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::mysql8()).await?;
        conn.login().await?;
        let nonce = b"abcdefghijABCDEFGHIJ";
        assert_eq!(conn.switch("sha256_password", &[&nonce[..], &[0]].concat()).await?, [1], "the request for the key");
        conn.more_data(auth::RSA_PUBLIC).await?;
        assert_eq!(auth::decrypt_password(nonce, &conn.read().await?), b"secret\0");
        conn.ok().await
    });
    dial(peer.addr(), None).await.unwrap();
    peer.finish();
}

/// Of an account that does not exist, MySQL shows a plugin all the same, and refuses the password in the end.
#[tokio::test]
async fn an_unknown_account_of_mysql_is_refused_by_the_servers_own_word() {
    for plugin in ["sha256_password", "caching_sha2_password"] {
        let peer = Peer::start(move |mut conn| async move {
            conn.greet(&Greeting::mysql8()).await?;
            conn.login().await?;
            conn.switch(plugin, b"abcdefghijABCDEFGHIJ\0").await?;
            if plugin == "caching_sha2_password" {
                conn.more_data(&[4]).await?;
                conn.read().await?;
            }
            conn.more_data(auth::RSA_PUBLIC).await?;
            conn.read().await?;
            conn.err(1045, "28000", "Access denied for user 'monitor'@'h' (using password: YES)").await
        });
        let error = refused(&peer).await;
        assert_eq!(error.server_error().map(|e| e.code), Some(1045), "{error}");
        assert!(error.is_login_refused());
    }
}

#[tokio::test]
async fn parsec_signs_both_nonces_with_the_key_of_the_password() {
    // The largest factor, and a salt with and without the 0x01 in front.
    for (factor, escaped) in [(0, true), (3, true), (0, false)] {
        let peer = Peer::start(move |mut conn| async move {
            conn.greet(&Greeting::default()).await?;
            conn.login().await?;
            let nonce = [0; 32];
            assert_eq!(conn.switch("parsec", &nonce).await?, b"", "the request for the salt");
            let hash = auth::parsec_hash("secret", factor, b"eighteen bytes ok.");
            if escaped {
                conn.more_data(&hash[..20]).await?
            } else {
                conn.send(&hash[..20]).await?
            }
            let answer = conn.read().await?;
            assert!(auth::parsec_accepts(&hash, &nonce, &answer));
            assert!(!auth::parsec_accepts(&auth::parsec_hash("other", factor, b"eighteen bytes ok."), &nonce, &answer));
            conn.ok().await
        });
        dial(peer.addr(), None).await.unwrap();
        peer.finish();
    }
}

#[tokio::test]
async fn a_parsec_server_out_of_bounds_is_a_refused_login_and_a_broken_one_a_protocol_error() {
    let cases: [(&[u8], &[u8], bool); 5] = [
        (&[1; 32], b"P\x04eighteen bytes ok.", true),
        (&[1; 32], b"P\xffeighteen bytes ok.", true),
        (&[1; 32], b"P\0seventeen bytes .", false),
        (&[1; 32], b"", false),
        (&[1; 31], b"P\0eighteen bytes ok.", false),
    ];
    for (nonce, salt, is_login_refused) in cases {
        let peer = Peer::start(move |mut conn| async move {
            conn.greet(&Greeting::default()).await?;
            conn.login().await?;
            conn.send(&[b"\xfeparsec\0", nonce].concat()).await?;
            if nonce.len() == 32 {
                conn.read().await?;
            }
            conn.more_data(salt).await?;
            assert_eq!(conn.hang().await?, b"", "no answer");
            Ok(())
        });
        let error = refused(&peer).await;
        assert_eq!(error.is_login_refused(), is_login_refused, "{error}");
        assert_eq!(matches!(error, Error::Protocol { .. }), !is_login_refused, "{error}");
    }
}

#[tokio::test]
async fn a_server_cannot_talk_the_password_out_of_an_unencrypted_connection() {
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::default()).await?;
        conn.login().await?;
        conn.send(b"\xfemysql_clear_password\0").await?;
        assert_eq!(conn.hang().await?, b"");
        Ok(())
    });
    let error = refused(&peer).await;
    assert!(matches!(error, Error::ClearPasswordWithoutTls));
    assert!(error.is_login_refused());
    peer.finish();
}

#[tokio::test]
async fn an_unknown_plugin_is_named() {
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::default()).await?;
        conn.login().await?;
        conn.send(b"\xfeauth_gssapi_client\0data").await
    });
    let error = refused(&peer).await;
    assert!(error.to_string().contains("\"auth_gssapi_client\""), "{error}");
}

#[tokio::test]
async fn an_error_says_whether_it_came_in_place_of_the_greeting_or_to_the_login() {
    let node = FakeNode::start("db1");
    node.set_mode(Mode::GreetWithErr(1040, "Too many connections".into()));
    let error = dial(node.addr(), None).await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Greeting));
    assert_eq!(error.server_error().unwrap().meaning(), Meaning::CannotGetIn);
    assert_eq!(error.to_string(), "error 1040 (HY000): Too many connections");

    node.set_mode(Mode::RefuseLogin(1045, "Access denied".into()));
    let error = dial(node.addr(), None).await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Login));
    assert!(error.is_login_refused());
}

#[tokio::test]
async fn no_greeting_is_told_from_an_end_after_it() {
    let node = FakeNode::start("db1");
    let cut = Greeting::default().packet()[..30].to_vec();
    for mode in [Mode::Close, Mode::Reset, Mode::Bytes(cut), Mode::Bytes(b"\x4a".to_vec())] {
        node.set_mode(mode.clone());
        let error = dial(node.addr(), None).await.unwrap_err();
        assert!(matches!(error, Error::Io { phase: Phase::Greeting, .. }), "{mode:?}: {error:?}");
    }
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::default()).await?;
        conn.login().await?;
        Ok(())
    });
    let error = refused(&peer).await;
    assert!(matches!(&error, Error::Io { phase: Phase::Login, .. }), "{error:?}");
    assert_eq!(error.to_string(), "connection closed by the server during the login");
}

#[tokio::test]
async fn what_is_no_mysql_server_is_said_to_be_none() {
    let node = FakeNode::start("db1");
    let mut extra = Greeting::default().packet();
    extra.extend(b"\x07\0\0\x02\0\0\0\x02\0\0\0");
    let mut hostile_length = Greeting::default().packet();
    let at = hostile_length.windows(8).position(|w| w == [21, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    hostile_length[at] = 130;
    for bytes in [b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), vec![0; 100], vec![0xff; 5000], extra, hostile_length] {
        node.set_mode(Mode::Bytes(bytes.clone()));
        let error = dial(node.addr(), None).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { phase: Phase::Greeting, .. }), "{bytes:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_query_brings_rows_and_an_error_leaves_the_connection_usable() {
    let node = FakeNode::start("db1");
    let mut connection = dial(node.addr(), None).await.unwrap();
    let rows = connection.query("SHOW GLOBAL STATUS LIKE 'wsrep_local_s%'").await.unwrap();
    assert_eq!(rows.columns, ["Variable_name", "Value"]);
    let pairs: Vec<_> = rows.pairs().collect();
    assert_eq!(pairs[0], ("wsrep_local_state", "4"));
    assert_eq!(pairs.len(), 3);

    let error = connection.query("SELECT @@nosuch").await.unwrap_err();
    assert_eq!((error.phase(), error.server_error().unwrap().code), (Some(Phase::Command), 1193));
    assert!(connection.is_usable());
    assert_eq!(connection.query("SELECT @@wsrep_node_name").await.unwrap().value(), Some("db1"));
    assert!(connection.query("SET wsrep_sync_wait = 0").await.unwrap().columns.is_empty());
    assert_eq!((node.connections(), node.logins(), node.commands()), (1, 1, 4));
}

/// Lets the client in, answers its query with these packets' bytes, and waits for the client to hang up.
fn answering(bytes: Vec<u8>) -> Peer {
    Peer::start(move |mut conn| {
        let bytes = bytes.clone();
        async move {
            let_in(&mut conn).await?;
            conn.command().await?;
            conn.raw(&bytes).await?;
            conn.hang().await?;
            Ok(())
        }
    })
}

#[tokio::test]
async fn an_answer_outside_the_protocol_or_its_bounds_is_an_error_and_ends_the_connection() {
    let column: &[u8] = b"\x0a\0\0\x02\x03def\0\0\0\x01a\0";
    let eof: &[u8] = b"\x05\0\0\x03\xfe\0\0\x02\0";
    // One column of a value per row, numbered onwards, more than we take.
    let mut endless = [b"\x01\0\0\x01\x01", column, eof].concat();
    for i in 0..70_000u32 {
        endless.extend([1, 0, 0, (4 + i).to_le_bytes()[0], 0]);
    }
    let mut wide = [b"\x01\0\0\x01\x01", column, eof].concat();
    for sequence in 4..7 {
        wide.extend([0x04, 0, 0x08, sequence, 0xfd, 0, 0, 0x08]);
        wide.resize(wide.len() + 0x08_0000, b'x');
    }
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("local file", b"\x0c\0\0\x01\xfb/etc/passwd".to_vec()),
        ("number of columns", b"\x03\0\0\x01\xfc\xff\xff".to_vec()),
        ("number of columns", b"\x09\0\0\x01\xfe\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("too long", b"\xff\xff\xff\x01".to_vec()),
        ("out of order", b"\x01\0\0\x05\x01".to_vec()),
        ("empty packet", b"\0\0\0\x01".to_vec()),
        ("column definition", b"\x01\0\0\x01\x01\x02\0\0\x02\x09x".to_vec()),
        ("end of the column", [b"\x01\0\0\x01\x01", column, b"\x02\0\0\x03\x01a"].concat()),
        ("malformed row", [b"\x01\0\0\x01\x01", column, eof, b"\x02\0\0\x04\x09a"].concat()),
        ("more than one result", [b"\x01\0\0\x01\x01", column, eof, b"\x05\0\0\x04\xfe\0\0\x08\0"].concat()),
        ("too many rows", endless),
        ("answer too long", wide),
    ];
    for (expected, bytes) in cases {
        let peer = answering(bytes);
        let mut connection = dial(peer.addr(), None).await.unwrap();
        let error = connection.query("SHOW GLOBAL STATUS").await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }) && error.to_string().contains(expected), "{expected}: {error}");
        assert!(!connection.is_usable());
        assert!(connection.query("SELECT 1").await.unwrap_err().to_string().contains("unusable"));
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_rows_is_the_servers_error() {
    let column: &[u8] = b"\x01\0\0\x01\x01\x0a\0\0\x02\x03def\0\0\0\x01a\0\x05\0\0\x03\xfe\0\0\x02\0";
    let peer = answering([column, b"\x02\0\0\x04\x01a", b"\x0d\0\0\x05\xff\x25\x05#70100gone"].concat());
    let mut connection = dial(peer.addr(), None).await.unwrap();
    let error = connection.query("SHOW GLOBAL STATUS").await.unwrap_err();
    assert_eq!(error.server_error().unwrap().code, 1317);
}

#[tokio::test]
async fn a_dropped_query_makes_the_connection_unusable_instead_of_mixing_answers_up() {
    let node = FakeNode::start("db1");
    let mut connection = dial(node.addr(), None).await.unwrap();
    node.set_mode(Mode::HangInQueries);
    timeout(Duration::from_millis(50), connection.query("SELECT 1")).await.unwrap_err();
    assert!(!connection.is_usable());
    assert!(connection.query("SET @a = 1").await.is_err());
}

#[tokio::test]
async fn an_idle_connections_end_is_news_at_once() {
    let node = FakeNode::start("db1");
    let mut connection = dial(node.addr(), None).await.unwrap();
    // Nothing happens, and the wait can be given up and taken up again.
    timeout(Duration::from_millis(50), connection.closed()).await.unwrap_err();
    connection.query("SET @a = 1").await.unwrap();
    node.cut_connections();
    let error = timeout(Duration::from_secs(5), connection.closed()).await.unwrap();
    assert!(matches!(error, Error::Io { phase: Phase::Idle, .. }), "{error:?}");
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn an_idle_connections_last_word_is_heard() {
    for (bytes, expected) in [
        (&b"\x13\0\0\0\xff\xbf\x0f#HY000disconnect"[..], "error 4031 (HY000): disconnect"),
        (b"\x01\0\0\0\x00", "protocol error while idle: the server speaks unasked"),
    ] {
        let peer = Peer::start(move |mut conn| async move {
            let_in(&mut conn).await?;
            conn.command().await?;
            conn.ok().await?;
            conn.raw(bytes).await?;
            conn.hang().await?;
            Ok(())
        });
        let mut connection = dial(peer.addr(), None).await.unwrap();
        connection.query("SET @a = 1").await.unwrap();
        let error = timeout(Duration::from_secs(5), connection.closed()).await.unwrap();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn whatever_a_server_sends_at_whatever_point_nothing_panics_or_hangs() {
    fastrand::seed(20_250_101);
    for round in 0..300 {
        let (stage, len) = (round % 4, fastrand::usize(0..400));
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(len).collect();
        // Half of the time with a header that fits, so that the bytes get past the framing.
        if round % 8 < 4 && len > 4 {
            let payload = u32::try_from(len - 4).unwrap().to_le_bytes();
            let sequence = [0, 2, 1, 1][stage];
            bytes[..4].copy_from_slice(&[payload[0], payload[1], payload[2], sequence]);
        }
        let peer = Peer::start(move |mut conn| {
            let bytes = bytes.clone();
            async move {
                if stage > 0 {
                    conn.greet(&Greeting::mysql8()).await?;
                    conn.login().await?;
                }
                if stage > 1 {
                    conn.ok().await?;
                    conn.command().await?;
                }
                conn.raw(&bytes).await
            }
        });
        if let Ok(mut connection) = dial(peer.addr(), None).await {
            let _ = timeout(Duration::from_secs(20), connection.query("SHOW GLOBAL STATUS")).await.unwrap();
            let _ = timeout(Duration::from_secs(20), connection.closed()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_fake_node_changes_while_a_test_runs() {
    let node = FakeNode::start("db1");
    let mut connection = dial(node.addr(), None).await.unwrap();
    node.set_status("wsrep_local_state", "2");
    node.set_variable("wsrep_reject_queries", "ALL");
    node.remove_status("wsrep_ready");
    let status = connection
        .query("SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_local_state','wsrep_ready')")
        .await
        .unwrap();
    assert_eq!(status.pairs().collect::<Vec<_>>(), [("wsrep_local_state", "2")]);
    let variables = connection.query("SHOW GLOBAL VARIABLES WHERE Variable_name='wsrep_reject_queries'").await.unwrap();
    assert_eq!(variables.get(0, "Value"), Some("ALL"));

    let members = "SELECT node_uuid, node_name FROM mysql.wsrep_cluster_members";
    assert_eq!(connection.query(members).await.unwrap_err().server_error().unwrap().code, 1142);
    node.set_members(Some(vec![["u1", "c", "db1", "AUTO"].map(str::to_owned)]));
    let rows = connection.query(members).await.unwrap();
    assert_eq!((rows.get(0, "node_uuid"), rows.get(0, "node_name")), (Some("u1"), Some("db1")));
    assert_eq!(node.open(), 1);
    connection.quit().await;
    while node.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
