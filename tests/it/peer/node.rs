//! A fake Galera node: any login, and the status rows a test gives it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::auth::{self, Account};
use super::{Conn, Greeting, Peer};

/// How a node treats connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Greets, accepts any login, answers.
    #[default]
    Serve,
    /// Accepts the TCP connection and says nothing, as a stopped process does; queries of established connections
    /// hang too.
    Hang,
    /// The same, but connections that are established go on.
    HangNew,
    /// Greets this much later; connections that are established go on as they are.
    GreetLate(Duration),
    /// Greets and accepts logins, but never answers a query.
    HangInQueries,
    /// Greets, accepts logins, and answers every query with an ERR packet, on connections of this time for ever.
    AnswerWithErr(u16, String),
    /// Answers a whole check and hangs up.
    CloseAfterCheck,
    /// Answers, but this much later.
    Slow(Duration),
    /// An ERR packet in place of the greeting.
    GreetWithErr(u16, String),
    /// An ERR packet in answer to the login.
    RefuseLogin(u16, String),
    /// Hangs up with a reset in place of the greeting.
    Reset,
    /// Hangs up in place of the greeting.
    Close,
    /// Bytes in place of the greeting, then hangs up.
    Bytes(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) mode: Mode,
    pub(super) greeting: Greeting,
    /// The only account, and how it proves itself; anybody is let in without one.
    pub(super) account: Option<Account>,
    pub(super) status: BTreeMap<String, String>,
    pub(super) variables: BTreeMap<String, String>,
    /// node_uuid, cluster_uuid, node_name, node_incoming_address; `None` = no right to read the table.
    pub(super) members: Option<Vec<[String; 4]>>,
    queries: Vec<String>,
    /// Variables that the server does not know.
    unknown: Vec<String>,
    /// The client address that is let in no more.
    blocked: Option<IpAddr>,
    /// Where accepted logins came from.
    logins_from: Vec<IpAddr>,
    /// What the next query is answered with.
    err_once: Option<(u16, String)>,
    /// What is answered to a statement that begins so, before all else.
    answers: Vec<(String, Answer)>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) facts: Mutex<Facts>,
    connections: AtomicU32,
    open: AtomicUsize,
    logins: AtomicUsize,
    commands: AtomicUsize,
    /// The next query gets no answer.
    hang_once: AtomicBool,
    close_once: AtomicBool,
}

/// A node on 127.0.0.1, with a port of its own.
pub(crate) struct FakeNode {
    peer: Peer,
    pub(super) shared: Arc<Shared>,
    cut: watch::Sender<u64>,
}

impl FakeNode {
    /// A node that is alone in its cluster, Synced, Primary and ready.
    pub(crate) fn start(name: &str) -> Self {
        Self::on(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    /// The same on a socket of the test's own.
    pub(crate) fn on(listener: std::net::TcpListener, name: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let (cut, watch) = watch::channel(0);
        let for_scripts = shared.clone();
        let peer = Peer::on(listener, move |conn| {
            let (shared, mut cut) = (for_scripts.clone(), watch.clone());
            cut.mark_unchanged();
            async move {
                shared.open.fetch_add(1, Ordering::SeqCst);
                let outcome = tokio::select! {
                    outcome = serve(conn, &shared) => outcome,
                    _ = cut.changed() => Ok(()),
                };
                shared.open.fetch_sub(1, Ordering::SeqCst);
                outcome
            }
        });
        let node = Self { peer, shared, cut };
        // Two that answer with one UUID are one server.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let uuid = format!("22222222-2222-2222-2222-{:012}", STARTED.fetch_add(1, Ordering::SeqCst));
        for (variable, value) in [
            ("wsrep_local_state", "4"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_ready", "ON"),
            ("wsrep_connected", "ON"),
            ("wsrep_cluster_size", "1"),
            ("wsrep_cluster_conf_id", "1"),
            ("wsrep_cluster_state_uuid", "11111111-1111-1111-1111-111111111111"),
            ("wsrep_local_state_uuid", "11111111-1111-1111-1111-111111111111"),
            ("wsrep_last_committed", "10"),
            ("wsrep_local_index", "0"),
            ("wsrep_incoming_addresses", "AUTO"),
            ("wsrep_gcomm_uuid", &uuid),
            ("wsrep_local_recv_queue", "0"),
            ("wsrep_flow_control_paused_ns", "0"),
            ("wsrep_flow_control_sent", "0"),
            ("Threads_connected", "1"),
            ("Uptime", "1000"),
        ] {
            node.set_status(variable, value);
        }
        for (variable, value) in [
            ("wsrep_on", "ON"),
            ("wsrep_reject_queries", "NONE"),
            ("wsrep_desync", "OFF"),
            ("wsrep_sst_donor_rejects_queries", "OFF"),
            ("wsrep_node_name", name),
            ("read_only", "OFF"),
            ("max_connections", "151"),
            ("version_comment", "fake"),
        ] {
            node.set_variable(variable, value);
        }
        node
    }

    /// Where clients connect.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.peer.addr()
    }

    /// How it treats connections from now on. Established ones meet it at their next query.
    pub(crate) fn set_mode(&self, mode: Mode) {
        self.shared.facts.lock().unwrap().mode = mode;
    }

    /// Leaves the next query of any connection without an answer, and no other one: a fault that ends by itself.
    pub(crate) fn hang_once(&self) {
        self.shared.hang_once.store(true, Ordering::SeqCst);
    }

    /// Hangs up in place of the next greeting, and of no other one.
    pub(crate) fn close_once(&self) {
        self.shared.close_once.store(true, Ordering::SeqCst);
    }

    /// Answers the next query of any connection with an ERR packet and hangs up.
    pub(crate) fn err_once(&self, code: u16, text: &str) {
        self.shared.facts.lock().unwrap().err_once = Some((code, text.into()));
    }

    /// A row of `SHOW GLOBAL STATUS`.
    pub(crate) fn set_status(&self, name: &str, value: &str) {
        self.shared.facts.lock().unwrap().status.insert(name.into(), value.into());
    }

    /// Takes a row of `SHOW GLOBAL STATUS` away.
    pub(crate) fn remove_status(&self, name: &str) {
        self.shared.facts.lock().unwrap().status.remove(name);
    }

    /// A row of `SHOW GLOBAL VARIABLES`, and what `SELECT @@name` says.
    pub(crate) fn set_variable(&self, name: &str, value: &str) {
        self.shared.facts.lock().unwrap().variables.insert(name.into(), value.into());
    }

    /// `SET` of one of these variables fails, as on a server of another product or version.
    pub(crate) fn set_unknown(&self, names: &[&str]) {
        self.shared.facts.lock().unwrap().unknown = names.iter().map(ToString::to_string).collect();
    }

    /// Takes a variable away.
    pub(crate) fn remove_variable(&self, name: &str) {
        self.shared.facts.lock().unwrap().variables.remove(name);
    }

    /// The rows of `mysql.wsrep_cluster_members`; `None`: the right to read it is missing.
    pub(crate) fn set_members(&self, members: Option<Vec<[String; 4]>>) {
        self.shared.facts.lock().unwrap().members = members;
    }

    /// What it answers to statements that begin so: columns, and rows of them.
    pub(crate) fn set_answer(&self, start: &str, columns: &[&str], rows: Vec<Vec<Option<String>>>) {
        self.answer_with(start, Answer::Rows(columns.iter().map(|c| (*c).to_owned()).collect(), rows));
    }

    /// The error that it answers to statements that begin so.
    pub(crate) fn set_error(&self, start: &str, code: u16, text: &str) {
        self.answer_with(start, Answer::Err(code, text.to_owned()));
    }

    fn answer_with(&self, start: &str, answer: Answer) {
        let answers = &mut self.shared.facts.lock().unwrap().answers;
        answers.retain(|(of, _)| of != start);
        answers.push((start.to_owned(), answer));
    }

    /// Hangs up on every connection, as a crash or a KILL does.
    pub(crate) fn cut_connections(&self) {
        self.cut.send_modify(|n| *n += 1);
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.peer.accepted()
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Logins accepted so far.
    pub(crate) fn logins(&self) -> usize {
        self.shared.logins.load(Ordering::SeqCst)
    }

    /// Where they came from, in their order.
    pub(crate) fn logins_from(&self) -> Vec<IpAddr> {
        self.shared.facts.lock().unwrap().logins_from.clone()
    }

    /// Lets nobody in from this address, as a server does after `max_connect_errors`.
    pub(crate) fn block(&self, from: IpAddr) {
        self.shared.facts.lock().unwrap().blocked = Some(from);
    }

    /// Commands received so far.
    pub(crate) fn commands(&self) -> usize {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// The queries received so far.
    pub(crate) fn queries(&self) -> Vec<String> {
        self.shared.facts.lock().unwrap().queries.clone()
    }
}

/// MySQL and Percona shut accounts without CONNECTION_ADMIN out then; whom no account is asked of is let in as with it.
fn is_shut(shared: &Shared) -> bool {
    let facts = shared.facts.lock().unwrap();
    facts.account.is_some() && lookup(&facts.variables, "offline_mode").is_some_and(|v| v == "ON")
}

fn mode(shared: &Shared) -> Mode {
    shared.facts.lock().unwrap().mode.clone()
}

async fn serve(mut conn: Conn, shared: &Shared) -> io::Result<()> {
    if shared.close_once.swap(false, Ordering::SeqCst) {
        return Ok(());
    }
    match mode(shared) {
        Mode::Hang | Mode::HangNew => {
            conn.hang().await?;
            return Ok(());
        }
        Mode::GreetLate(time) => conn.pause(time).await,
        Mode::GreetWithErr(code, text) => return conn.err(code, "HY000", &text).await,
        Mode::Reset => {
            conn.reset();
            return Ok(());
        }
        Mode::Close => return Ok(()),
        Mode::Bytes(bytes) => return conn.raw(&bytes).await,
        Mode::Slow(time) => conn.pause(time).await,
        Mode::Serve | Mode::HangInQueries | Mode::AnswerWithErr(..) | Mode::CloseAfterCheck | Mode::RefuseLogin(..) => {
        }
    }
    if conn.from.is_some_and(|from| shared.facts.lock().unwrap().blocked == Some(from)) {
        return conn.err(1129, "HY000", "Host is blocked because of many connection errors").await;
    }
    let connection_id = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let (greeting, account) = {
        let facts = shared.facts.lock().unwrap();
        (facts.greeting.clone(), facts.account.clone())
    };
    conn.greet(&Greeting { connection_id, ..greeting.clone() }).await?;
    let login = conn.login().await?;
    if let Some(account) = account
        && !auth::lets_in(&mut conn, &greeting, &login, &account).await?
    {
        let text = format!("Access denied for user '{}'@'127.0.0.1' (using password: YES)", login.user);
        return conn.err(1045, "28000", &text).await;
    }
    if is_shut(shared) {
        return conn.err(3032, "HY000", "The server is currently in offline mode").await;
    }
    if let Mode::RefuseLogin(code, text) = mode(shared) {
        return conn.err(code, "28000", &text).await;
    }
    shared.logins.fetch_add(1, Ordering::SeqCst);
    shared.facts.lock().unwrap().logins_from.extend(conn.from);
    conn.ok().await?;
    let at_login = mode(shared);
    loop {
        let command = conn.command().await?;
        shared.commands.fetch_add(1, Ordering::SeqCst);
        if shared.hang_once.swap(false, Ordering::SeqCst) {
            conn.hang().await?;
            return Ok(());
        }
        let once = shared.facts.lock().unwrap().err_once.take();
        if let Some((code, text)) = once {
            return conn.err(code, "08S01", &text).await;
        }
        match if matches!(at_login, Mode::AnswerWithErr(..)) { at_login.clone() } else { mode(shared) } {
            Mode::Hang | Mode::HangInQueries => {
                conn.hang().await?;
                return Ok(());
            }
            Mode::AnswerWithErr(code, text) => {
                conn.err(code, "42000", &text).await?;
                continue;
            }
            Mode::Slow(time) => conn.pause(time).await,
            _ => {}
        }
        if is_shut(shared) {
            return conn.err(3032, "HY000", "The server is currently in offline mode").await;
        }
        match command.split_first() {
            Some((0x01, _)) => return Ok(()),
            Some((0x03, sql)) => {
                let sql = String::from_utf8_lossy(sql).trim().to_owned();
                shared.facts.lock().unwrap().queries.push(sql.clone());
                let answer = answer(&sql, &shared.facts.lock().unwrap());
                match answer {
                    Answer::Ok => conn.ok().await?,
                    Answer::Err(code, text) => {
                        conn.err(code, if code == 1047 { "08S01" } else { "42000" }, &text).await?;
                    }
                    Answer::Rows(columns, rows) => {
                        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                        conn.rows(&columns, &rows).await?;
                    }
                }
                // The second and last question of a check.
                if mode(shared) == Mode::CloseAfterCheck && sql.contains("wsrep_cluster_members") {
                    return Ok(());
                }
            }
            _ => conn.err(1047, "08S01", "Unknown command").await?,
        }
    }
}

#[derive(Debug, Clone)]
enum Answer {
    Ok,
    Err(u16, String),
    Rows(Vec<String>, Vec<Vec<Option<String>>>),
}

fn answer(sql: &str, facts: &Facts) -> Answer {
    let upper = sql.to_ascii_uppercase();
    let text = |s: &str| Some(s.to_owned());
    if let Some((_, answer)) = facts.answers.iter().find(|(start, _)| sql.starts_with(start)) {
        answer.clone()
    } else if upper.starts_with("SHOW GLOBAL STATUS") || upper.starts_with("SHOW STATUS") {
        show(&facts.status, sql)
    } else if upper.starts_with("SHOW GLOBAL VARIABLES") || upper.starts_with("SHOW VARIABLES") {
        show(&facts.variables, sql)
    } else if upper.contains("WSREP_CLUSTER_MEMBERS") {
        let columns = ["node_uuid", "cluster_uuid", "node_name", "node_incoming_address"];
        // The columns asked for, in their order; all of them for `*` .
        let asked: Vec<usize> = match upper.strip_prefix("SELECT ").and_then(|rest| rest.split_once(" FROM")) {
            Some((list, _)) if !list.contains('*') => list
                .split(',')
                .filter_map(|c| columns.iter().position(|name| name.eq_ignore_ascii_case(c.trim())))
                .collect(),
            _ => (0..columns.len()).collect(),
        };
        // Taken of Percona. MariaDB 10.11 answers from this table while it refuses every other (seen).
        let rejects = lookup(&facts.variables, "wsrep_reject_queries").is_some_and(|value| value != "NONE");
        match &facts.members {
            _ if rejects && facts.account.is_some() => {
                Answer::Err(1047, "WSREP has not yet prepared node for application use".into())
            }
            None => Answer::Err(1142, "SELECT command denied to user for table `mysql`.`wsrep_cluster_members`".into()),
            Some(members) => Answer::Rows(
                asked.iter().map(|i| columns[*i].to_owned()).collect(),
                members.iter().map(|m| asked.iter().map(|i| text(&m[*i])).collect()).collect(),
            ),
        }
    } else if upper.starts_with("SELECT @@") {
        let names: Vec<&str> = sql[7..].split(',').map(variable_name).collect();
        let values: Vec<_> = names.iter().map(|name| lookup(&facts.variables, name)).collect();
        match names.iter().zip(&values).find(|(_, value)| value.is_none()) {
            Some((name, _)) => Answer::Err(1193, format!("Unknown system variable '{name}'")),
            None => Answer::Rows(names.iter().map(|n| format!("@@{n}")).collect(), vec![values]),
        }
    } else if upper.starts_with("SELECT 1") {
        Answer::Rows(vec!["1".into()], vec![vec![text("1")]])
    } else if upper.starts_with("SET ") {
        match facts.unknown.iter().find(|name| sql.contains(name.as_str())) {
            Some(name) => Answer::Err(1193, format!("Unknown system variable '{name}'")),
            None => Answer::Ok,
        }
    } else {
        Answer::Err(1064, format!("a fake node does not know: {sql}"))
    }
}

/// `@@global.name limit 1` → `name`.
fn variable_name(part: &str) -> &str {
    let name = part.trim().trim_start_matches("@@");
    let name = name.split([' ', ';']).next().unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

fn lookup(rows: &BTreeMap<String, String>, name: &str) -> Option<String> {
    rows.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

/// Rows whose name is one of the quoted strings (patterns after LIKE); all of them where none is quoted.
fn show(rows: &BTreeMap<String, String>, sql: &str) -> Answer {
    let quoted: Vec<&str> = sql.split('\'').skip(1).step_by(2).collect();
    let asked = |name: &str| quoted.is_empty() || quoted.iter().any(|pattern| like(pattern, name));
    let rows = rows.iter().filter(|(name, _)| asked(name)).map(|(n, v)| vec![Some(n.clone()), Some(v.clone())]);
    Answer::Rows(vec!["Variable_name".into(), "Value".into()], rows.collect())
}

/// SQL's LIKE with a `%` at the end; everything else must be equal but for case.
fn like(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.replace('\\', "").to_ascii_lowercase(), name.to_ascii_lowercase());
    match pattern.strip_suffix('%') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}
