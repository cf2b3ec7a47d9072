//! `galeway node`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::{Admin, Ask, PATIENCE, ask, encoded, token};
use super::status::{at, list};
use super::{NO, say, wrong};
use crate::config::Secret;
use crate::pool::AdminState;

const AFTER_HELP: &str = "\
What is set survives restarts, and stands apart from what is observed: a node that is ready and
not Synced serves nobody. With several Galeways, tell each of them.

Examples:
  galeway node db2 drain              sessions may finish for drain_timeout, then they end
  galeway node db2 ready              back, once it is Synced
  galeway node db2 ready --accept-history    after a restore, or a bootstrap on purpose

Exit codes: 0 it is set; 1 it cannot be now, and why; 2 usage, no such node, the token, or nobody
answers.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct NodeArgs {
    /// The node, as the status names it
    #[arg(value_name = "NAME")]
    node: String,
    /// What it is to be
    #[arg(value_enum)]
    state: State,
    /// The cluster [default: the only one that has a node of this name]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// With ready: the history that this node has is the right one, whatever was known or learned before
    #[arg(long)]
    accept_history: bool,
    /// The running instance: HOST:PORT or unix:PATH [default: GALEWAY_ADMIN, else
    /// unix:/run/galeway/admin.sock if it exists, else 127.0.0.1:9306]
    #[arg(long, value_name = "ADDR")]
    admin: Option<Admin>,
    /// File that holds the token, which changes over TCP need
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Serves when it can
    Ready,
    /// Gets nobody new; its sessions may finish
    Drain,
    /// The same; the word says that the server is being worked on
    Maintenance,
}

impl From<State> for AdminState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Drain => Self::Drain,
            State::Maintenance => Self::Maintenance,
        }
    }
}

pub(super) fn run(args: &NodeArgs) -> ExitCode {
    let state = AdminState::from(args.state);
    if args.accept_history && state != AdminState::Ready {
        return wrong("--accept-history goes with ready only: it lets a node serve");
    }
    let admin = match Admin::of(args.admin.as_ref()) {
        Ok(admin) => admin,
        Err(message) => return wrong(message),
    };
    let token = match token(args.token_file.as_deref()) {
        Ok(token) => token,
        Err(message) => return wrong(message),
    };
    let cluster = match &args.cluster {
        Some(cluster) => cluster.clone(),
        None => match cluster_of(&args.node, &admin, token.clone()) {
            Ok(cluster) => cluster,
            Err(message) => return wrong(message),
        },
    };
    let path = format!("/api/clusters/{}/nodes/{}", encoded(&cluster), encoded(&args.node));
    let wish = json!({ "state": state.as_str(), "accept_history": args.accept_history });
    match ask(&admin, &Ask::post(&path, wish.to_string(), token), PATIENCE) {
        Ok((200, sentence)) => {
            say(&format!("{}\n", sentence.trim_end()));
            ExitCode::SUCCESS
        }
        // It was understood, and the answer is no.
        Ok((409 | 503, why)) => {
            eprintln!("galeway: {}", why.trim_end());
            ExitCode::from(NO)
        }
        Ok((401, _)) if args.token_file.is_none() => wrong(format_args!(
            "{admin} asks for its token: --token-file FILE, or use its socket with --admin unix:PATH"
        )),
        Ok((401, _)) => wrong(format_args!("{admin} does not know this token: see [admin] token_file there")),
        Ok((_, why)) => wrong(format_args!("{admin}: {}", why.trim_end())),
        Err(e) => wrong(format_args!("{admin}: {e}")),
    }
}

/// The only cluster that has a node of this name.
fn cluster_of(node: &str, admin: &Admin, token: Option<Secret>) -> Result<String, String> {
    let status = match ask(admin, &Ask::get("/api/status", token), PATIENCE) {
        Ok((200, body)) => body,
        Ok((code, why)) => return Err(format!("{admin}: {code}: {}", why.trim_end())),
        Err(e) => return Err(format!("{admin}: {e}")),
    };
    let status: Value = serde_json::from_str(&status).map_err(|e| format!("{admin}: this is no status: {e}"))?;
    only_cluster(&status, node)
}

fn only_cluster(status: &Value, node: &str) -> Result<String, String> {
    let name = |value: &Value| at(value, "/name").as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    let mut known = Vec::new();
    for cluster in list(at(status, "/clusters")) {
        let nodes: Vec<String> = list(at(cluster, "/nodes")).iter().map(name).collect();
        if nodes.iter().any(|other| other == node) {
            found.push(name(cluster));
        }
        known.extend(nodes);
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(format!("no cluster has a node {node:?}; there is {}", known.join(", "))),
        several => {
            Err(format!("clusters {} each have a node {node:?}: say which with --cluster", several.join(" and ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_its_name_where_one_cluster_has_it() {
        let nodes = |names: &[&str]| Value::from_iter(names.iter().map(|name| json!({ "name": name })));
        let status = json!({ "clusters": [
            { "name": "a", "nodes": nodes(&["db1", "db2"]) },
            { "name": "b", "nodes": nodes(&["db2", "db3"]) },
        ] });
        assert_eq!(only_cluster(&status, "db3"), Ok("b".to_owned()));
        let several = only_cluster(&status, "db2").unwrap_err();
        assert_eq!(several, "clusters a and b each have a node \"db2\": say which with --cluster");
        let none = only_cluster(&status, "db9").unwrap_err();
        assert_eq!(none, "no cluster has a node \"db9\"; there is db1, db2, db2, db3");
        assert!(only_cluster(&json!([]), "db1").is_err());
    }
}
