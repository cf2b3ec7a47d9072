//! `/clustercheck/[CLUSTER/]NODE`: what the clustercheck script answers on a node's port 9200, so that a balancer that asks
//! the script can ask here.
//!
//! The status and the body are the script's, byte for byte (<https://github.com/olafz/percona-clustercheck>), also where
//! the node is MariaDB's: that script says the same there, and a rule may look for its words. A body's length is true,
//! where the script's own is off by one for "read-only". What the script cannot tell stands in a header of ours.

use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::reply::{Reply, only, text};
use super::routes::percent_decoded;
use super::view::{ClusterView, View};
use crate::pool::{AdminState, Member, Scope};

/// What a path that is ours begins with.
const PREFIX: &str = "/clustercheck/";

/// Why, as the status has it.
const REASON: HeaderName = HeaderName::from_static("x-galeway-reason");

/// The part of a path that names a node; `None` where the path is another route's.
pub(super) fn named(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)
}

/// Answers. HAProxy asks by OPTIONS unless it is told otherwise.
pub(super) fn respond(method: &Method, name: &str, query: Option<&str>, view: &View) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return only("GET, HEAD, OPTIONS");
    }
    if query.is_some() {
        // Such as a role, which nothing here would look at.
        return text(StatusCode::BAD_REQUEST, "usage: /clustercheck/NODE or /clustercheck/CLUSTER/NODE, no query\n");
    }
    let (cluster, node) = match name.split_once('/') {
        Some((cluster, node)) => (Some(percent_decoded(cluster)), percent_decoded(node)),
        None => (None, percent_decoded(name)),
    };
    let (cluster, node) = match (cluster, node) {
        (None, Some(node)) => (None, node),
        (Some(Some(cluster)), Some(node)) => (Some(cluster), node),
        _ => return text(StatusCode::BAD_REQUEST, "the path holds a % that stands for nothing\n"),
    };
    let layout = view.layout();
    let found: Vec<(&ClusterView, Member)> = layout
        .clusters
        .iter()
        .filter(|c| cluster.as_deref().is_none_or(|name| name == &*c.name))
        .filter_map(|c| Some((c, c.pool.load().members.iter().find(|m| *m.node.name() == *node)?.clone())))
        .collect();
    match found.as_slice() {
        [] => text(StatusCode::NOT_FOUND, format!("no such node; known: {}\n", known(view).join(" "))),
        [(_, member)] => answer(member),
        several => {
            let paths: Vec<String> = several.iter().map(|(c, m)| path(&c.name, &m.node.name())).collect();
            let why = format!("several clusters have a node of this name: {}\n", paths.join(" "));
            text(StatusCode::CONFLICT, why)
        }
    }
}

/// The paths that lead to a node.
fn known(view: &View) -> Vec<String> {
    let nodes = |c: &ClusterView| -> Vec<String> {
        c.pool.load().members.iter().map(|m| path(&c.name, &m.node.name())).collect()
    };
    view.layout().clusters.iter().flat_map(nodes).collect()
}

fn path(cluster: &str, node: &str) -> String {
    format!("{PREFIX}{}/{}", encoded(cluster), encoded(node))
}

/// As a part of a path.
fn encoded(name: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b);
    name.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// 200 where new sessions of role `any` may go: who does not say that he only reads may write. A node that is full or
/// slow is well; whoever asks here counts his own sessions.
fn answer(member: &Member) -> Reply {
    let barred = member.barred();
    let words = match barred {
        None if member.verdict.scope == Scope::Readers => "read-only",
        None => "synced",
        Some(_) if member.admin != AdminState::Ready => "manually disabled",
        Some(_) if member.verdict.kind.serves() && member.weight == 0 => "manually disabled",
        Some(_) if member.verdict.reason.label() == "read_only" => "read-only",
        Some(_) => "not synced",
    };
    let code = if words == "synced" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut reply = text(code, format!("Percona XtraDB Cluster Node is {words}.\r\n"));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // Also to a client of HTTP/1.0, where it goes without saying: the script says it.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let why = barred.unwrap_or_else(|| match member.verdict.scope {
        Scope::Readers => format!("{}, for readers only", member.verdict.reason),
        Scope::All | Scope::Writers => member.verdict.reason.to_string(),
    });
    // A server's own words may hold what no header can: then the status alone tells them.
    if let Ok(why) = HeaderValue::from_str(&why) {
        headers.insert(REASON, why);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_in_a_path_is_one_part_of_it_and_reads_back(name in any::<String>()) {
            let path = encoded(&name);
            prop_assert!(!path.contains('/'));
            prop_assert_eq!(percent_decoded(&path), Some(name));
        }
    }
}
