//! `galeway status`: what a tired person has to know, bad news marked with `!`.
//!
//! Written against the JSON of `/api/status`, of this version or another: what is absent there is left out here.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::{Admin, Ask, PATIENCE, Told, ask, call, on_runtime, token};
use super::{NO, say, watch, wrong};
use crate::config::Secret;

const AFTER_HELP: &str = "\
A line that begins with ! is bad news. REASON says what decided each verdict.

Examples:
  galeway status                                  this host's instance
  galeway status --admin 10.0.0.5:9306 --watch    another host's, every second
  galeway status --json | jq -r '.clusters[].writer'

Exit codes: 0 every service can route; 1 one cannot; 2 usage, or nobody answers.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StatusArgs {
    /// The running instance: HOST:PORT or unix:PATH [default: GALEWAY_ADMIN, else
    /// unix:/run/galeway/admin.sock if it exists, else 127.0.0.1:9306]
    #[arg(long, value_name = "ADDR")]
    admin: Option<Admin>,
    /// Print the JSON of /api/status as it is
    #[arg(long)]
    json: bool,
    /// Show it anew every second, until Ctrl-C; to a pipe or a file, one after the other with an empty line between
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Ask only whether it lives, whether or not it can route: 0 it does, 1 it does not answer. For the health checks of
    /// containers, which restart what fails
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    alive: bool,
    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) fn run(args: &StatusArgs) -> ExitCode {
    let token = match token(args.token_file.as_deref()) {
        Ok(token) => token,
        Err(message) => return wrong(message),
    };
    if args.watch {
        return watch::run(args.admin.as_ref(), token.as_ref());
    }
    let admin = match Admin::of(args.admin.as_ref()) {
        Ok(admin) => admin,
        Err(message) => return wrong(message),
    };
    if args.alive {
        return alive(&admin, token);
    }
    let looked = on_runtime(look(&admin, token.as_ref(), PATIENCE)).map_err(|e| e.to_string()).flatten();
    let Look { body, status, ready } = match looked {
        Ok(look) => look,
        Err(why) => return wrong(format_args!("{admin}: {why}")),
    };
    if args.json {
        say(&format!("{body}\n"));
    } else {
        say(&text(&status, &ready));
    }
    match ready.0 {
        200 => ExitCode::SUCCESS,
        503 => ExitCode::from(NO),
        code => wrong(format_args!("{admin}: /readyz: {code}: {}", ready.1.trim_end())),
    }
}

/// Whoever does not answer is not alive: that is an answer here, and no wrong usage.
fn alive(admin: &Admin, token: Option<Secret>) -> ExitCode {
    let why = match ask(admin, &Ask::get("/healthz", token), PATIENCE) {
        Ok((200, _)) => {
            say("alive\n");
            return ExitCode::SUCCESS;
        }
        Ok((code, said)) => format!("{code}: {}", said.trim_end()),
        Err(e) => e.to_string(),
    };
    eprintln!("galeway: {admin}: {why}");
    ExitCode::from(NO)
}

/// What an instance says of itself.
#[derive(Debug)]
pub(super) struct Look {
    /// `/api/status` as it came.
    body: String,
    status: Value,
    /// `/readyz`.
    ready: Told,
}

impl Look {
    pub(super) fn text(&self) -> String {
        text(&self.status, &self.ready)
    }
}

/// Asks an instance, each of two questions within `limit`; else why it said nothing that can be shown.
pub(super) async fn look(admin: &Admin, token: Option<&Secret>, limit: Duration) -> Result<Look, String> {
    let get = async |path| call(admin, &Ask::get(path, token.cloned()), limit).await.map_err(|e| e.to_string());
    let (code, body) = get("/api/status").await?;
    if code != 200 {
        return Err(format!("{code}: {}", body.trim_end()));
    }
    // Before anything is printed: whatever listens there, it may not be galeway.
    let status = serde_json::from_str(&body).map_err(|e| format!("this is no status of galeway: {e}"))?;
    Ok(Look { body, status, ready: get("/readyz").await? })
}

/// The whole screen.
fn text(status: &Value, ready: &Told) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(out, "galeway {}", word(at(status, "/version")).unwrap_or_default());
    if let Some(state) = word(at(status, "/state")) {
        let _ = write!(out, ", {state}");
    }
    if let Some(uptime) = at(status, "/uptime_seconds").as_f64() {
        let _ = write!(out, ", up {}", age(uptime));
    }
    if let Some(pid) = at(status, "/pid").as_u64() {
        let _ = write!(out, ", pid {pid}");
    }
    out.push('\n');
    for cluster in list(at(status, "/clusters")) {
        out.push_str(&headline(cluster));
        nodes(&mut out, list(at(cluster, "/nodes")));
    }
    for service in list(at(status, "/services")) {
        out.push_str(&service_line(service));
    }
    if ready.0 == 200 {
        out.push_str("ready: every service can route\n");
    } else {
        ready.1.lines().for_each(|line| {
            let _ = writeln!(out, "! not ready: {}", harmless(line));
        });
    }
    out
}

fn headline(cluster: &Value) -> String {
    let verdict = word(at(cluster, "/verdict"));
    let bad = verdict.as_deref().is_some_and(|v| v != "primary");
    let mut parts: Vec<String> = verdict.into_iter().collect();
    match at(cluster, "/writer") {
        Value::String(writer) => parts.push(format!("writer {}", harmless(writer))),
        // Absent where this galeway knows none; null where there is none now.
        Value::Null if cluster.get("writer").is_some() => parts.push("no writer".to_owned()),
        _ => {}
    }
    let component = |c: &Value| list(c).iter().filter_map(word).collect::<Vec<_>>().join(" ");
    let components: Vec<String> = list(at(cluster, "/components")).iter().map(component).collect();
    match components.as_slice() {
        [] => {}
        [one] => parts.push(format!("component {one}")),
        several => parts.push(format!("{} components {}", several.len(), several.join(" | "))),
    }
    if let Some(membership) = word(at(cluster, "/membership")) {
        parts.push(format!("membership {membership}"));
    }
    let mark = if bad { "! " } else { "  " };
    let name = word(at(cluster, "/name")).unwrap_or_default();
    let note = word(at(cluster, "/writer_note")).map_or_else(String::new, |note| format!("!   {}\n", harmless(&note)));
    format!("{mark}cluster {name}: {}\n{note}", parts.join(", "))
}

/// The column of what an operator set.
const SET_TO: usize = 2;

/// A table, the reason last: it may be long.
fn nodes(out: &mut String, nodes: &[Value]) {
    if nodes.is_empty() {
        return;
    }
    let header = ["NODE", "VERDICT", "SET TO", "FOR", "CHECKED", "SESSIONS", "REASON"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once((false, header)).chain(nodes.iter().map(row)).collect();
    // Nobody set anything, as nearly always: no column for it.
    let any_set = rows.iter().skip(1).any(|(_, cells)| cells.get(SET_TO).is_some_and(|cell| !cell.is_empty()));
    for (bad, cells) in &rows {
        let mut line = if *bad { "!  ".to_owned() } else { "   ".to_owned() };
        for (column, cell) in cells.iter().enumerate() {
            if column == SET_TO && !any_set {
                continue;
            }
            let width = rows.iter().filter_map(|(_, cells)| cells.get(column)).map(|c| c.chars().count()).max();
            let _ = write!(line, " {cell:<width$} ", width = width.unwrap_or(0));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Whether it is bad news, and the cells.
fn row(node: &Value) -> (bool, [String; 7]) {
    let verdict = word(at(node, "/verdict")).unwrap_or_default();
    let set_to = word(at(node, "/admin_state")).filter(|state| state != "ready").unwrap_or_default();
    let bad = verdict != "eligible" || !set_to.is_empty();
    let since = at(node, "/since_seconds").as_f64().map(age).unwrap_or_default();
    let checked = at(node, "/probe/age_ms").as_f64().map_or_else(|| "never".to_owned(), |ms| age(ms / 1e3));
    let sessions = at(node, "/connections/active").as_u64().map(|n| n.to_string()).unwrap_or_default();
    let mut reason = word(at(node, "/reason")).unwrap_or_default();
    // One failed check changes no verdict yet, and is news all the same.
    if let Some(error) = word(at(node, "/probe/error"))
        && !reason.contains(&error)
    {
        let _ = write!(reason, "; last check: {error}");
    }
    (bad, [word(at(node, "/name")).unwrap_or_default(), verdict, set_to, since, checked, sessions, reason])
}

fn service_line(service: &Value) -> String {
    let accept: Vec<String> = list(at(service, "/accept")).iter().filter_map(word).collect();
    let count = |key: &str| Some(format!("{} {key}", service.get(key)?.as_u64()?));
    let counts: Vec<String> =
        ["active", "queued", "total", "rejected", "failed"].into_iter().filter_map(count).collect();
    format!(
        "  service {} on {}, to {}: {}\n",
        word(at(service, "/name")).unwrap_or_default(),
        accept.join(" "),
        word(at(service, "/target")).unwrap_or_default(),
        counts.join(", ")
    )
}

/// What a document holds there, if anything.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(harmless)
}

/// Reasons hold words of servers, and a terminal obeys what it is sent.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// A time that has passed, in the two largest units that say something.
pub(super) fn age(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0}ms", seconds * 1e3);
    }
    if seconds < 60.0 {
        return format!("{:.0}s", seconds.floor());
    }
    let (large, small, of, per) = match seconds {
        s if s < 3600.0 => ('m', 's', 60.0, 1.0),
        s if s < 86_400.0 => ('h', 'm', 3600.0, 60.0),
        _ => ('d', 'h', 86_400.0, 3600.0),
    };
    format!("{:.0}{large}{:02.0}{small}", (seconds / of).floor(), (seconds % of / per).floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_screen_in_the_night() {
        let node = |name: &str, verdict: &str, set: &str, reason: &str| {
            json!({ "name": name, "admin_state": set, "verdict": verdict, "reason": reason, "since_seconds": 7350.0,
                    "probe": { "age_ms": 120.4, "error": null }, "connections": { "active": 3 } })
        };
        let mut failing = node("db4", "eligible", "ready", "Synced");
        failing["probe"]["error"] = "no answer: query timed out".into();
        let status = json!({
            "version": "0.1.0", "pid": 7, "uptime_seconds": 93_784.5, "state": "running",
            "clusters": [{
                "name": "main", "verdict": "split-brain", "writer": "db1", "membership": "uuid",
                "components": [["db1", "db4"], ["db2"]],
                "nodes": [
                    node("db1", "eligible", "ready", "Synced"),
                    node("db2", "excluded", "ready", "fenced: the other part is served\u{1b}[2J"),
                    node("db3", "excluded", "maintenance", "maintenance (set by an operator)"),
                    failing,
                ],
            }],
            "services": [{ "name": "writer", "accept": ["127.0.0.1:3306"], "target": "main/writer", "active": 3,
                           "queued": 0, "total": 10, "rejected": 0, "failed": 1 }],
        });
        let expected = "\
galeway 0.1.0, running, up 1d02h, pid 7
! cluster main: split-brain, writer db1, 2 components db1 db4 | db2, membership uuid
    NODE  VERDICT   SET TO       FOR    CHECKED  SESSIONS  REASON
    db1   eligible               2h02m  120ms    3         Synced
!   db2   excluded               2h02m  120ms    3         fenced: the other part is served?[2J
!   db3   excluded  maintenance  2h02m  120ms    3         maintenance (set by an operator)
    db4   eligible               2h02m  120ms    3         Synced; last check: no answer: query timed out
  service writer on 127.0.0.1:3306, to main/writer: 3 active, 0 queued, 10 total, 0 rejected, 1 failed
ready: every service can route
";
        assert_eq!(text(&status, &(200, "ready\n".to_owned())), expected);
    }

    #[test]
    fn what_another_version_does_not_say_is_left_out() {
        let status = json!({ "clusters": [{ "name": "main", "verdict": "primary", "nodes": [{ "name": "db1" }] }] });
        let expected = "\
galeway 
  cluster main: primary
    NODE  VERDICT  FOR  CHECKED  SESSIONS  REASON
!   db1                 never
! not ready: writer: starting
";
        assert_eq!(text(&status, &(503, "writer: starting\n".to_owned())), expected);
        assert_eq!(text(&json!(7), &(200, String::new())), "galeway \nready: every service can route\n");
    }

    #[test]
    fn a_cluster_without_a_writer_says_so_where_there_could_be_one() {
        assert!(headline(&json!({ "name": "c", "writer": null })).contains("no writer"));
        assert!(!headline(&json!({ "name": "c" })).contains("writer"));
    }

    #[test]
    fn ages_have_at_most_two_units() {
        for (seconds, said) in
            [(0.12, "120ms"), (3.9, "3s"), (59.9, "59s"), (125.0, "2m05s"), (3660.0, "1h01m"), (180_000.0, "2d02h")]
        {
            assert_eq!(age(seconds), said);
        }
    }
}
