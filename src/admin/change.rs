//! The routes that ask the health room for something. Nothing is changed here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;

use super::auth::{self, Peer};
use super::reload::ReloadRefusal;
use super::reply::{Reply, text};
use super::routes::percent_decoded;
use super::view::{Operated, View};
use crate::pool::{AdminState, Answer, Command, Refusal};

/// The longest body that is looked at.
const LONGEST: usize = 4096;

/// What is read and thrown away of a longer one: closed with bytes unread, the connection would be reset, and the
/// answer with it.
const SWALLOWED: usize = 1024 * 1024;

/// A body must have come within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A path that stands for a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/api/notify`
    Notify,
    /// `/api/reload`
    Reload,
    /// `/api/clusters/CLUSTER/nodes/NODE`, as they are meant; `None`: not decodable.
    Node(Option<(String, String)>),
}

impl Route {
    /// Of a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        if path == "/api/notify" {
            return Some(Self::Notify);
        }
        if path == "/api/reload" {
            return Some(Self::Reload);
        }
        let mut parts = path.strip_prefix("/api/clusters/")?.split('/');
        let (cluster, nodes, node) = (parts.next()?, parts.next()?, parts.next()?);
        if nodes != "nodes" || parts.next().is_some() {
            return None;
        }
        Some(Self::Node(percent_decoded(cluster).zip(percent_decoded(node))))
    }
}

/// Answers a POST.
pub(super) async fn respond(route: Route, request: Request<Incoming>, peer: Peer, view: &View) -> Reply {
    let allowed = match route {
        Route::Notify => auth::may_notify(request.headers(), peer, view),
        Route::Node(_) | Route::Reload => auth::may_change(request.headers(), peer, view.layout().token.as_ref()),
    };
    if let Err(refused) = allowed {
        return refused.reply();
    }
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    match route {
        // What it says is not looked at: a notice is never believed.
        Route::Notify => notify(view).await,
        Route::Node(_) | Route::Reload if view.replaced.load(Ordering::SeqCst) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "a new process is about to take over: ask again in some seconds\n")
        }
        Route::Reload => reload(peer, view).await,
        Route::Node(Some((cluster, node))) => set_state(&cluster, &node, &body, peer, view).await,
        Route::Node(None) => text(StatusCode::BAD_REQUEST, "the path holds a % that stands for nothing\n"),
    }
}

async fn read(body: Incoming) -> Result<Vec<u8>, Reply> {
    let mut body = body;
    let mut read = Vec::new();
    let mut length = 0_usize;
    let all = async {
        while length <= SWALLOWED
            && let Some(frame) = body.frame().await
        {
            let Ok(frame) = frame else { return Err(text(StatusCode::BAD_REQUEST, "the body broke off\n")) };
            let Ok(data) = frame.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length <= LONGEST {
                read.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, all).await {
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5 s\n")),
        Ok(Err(broken)) => Err(broken),
        Ok(Ok(())) if length > LONGEST => {
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {LONGEST} bytes\n")))
        }
        Ok(Ok(())) => Ok(read),
    }
}

/// Every cluster looks at its nodes: who sent it may be of several.
async fn notify(view: &View) -> Reply {
    let mut refused = None;
    for cluster in &view.layout().clusters {
        if let Err(why) = cluster.commands.give(Command::Look).await {
            refused = Some(answer(Err(why)));
        }
    }
    refused.unwrap_or_else(|| text(StatusCode::ACCEPTED, "looking\n"))
}

/// The configuration is read again; the body is not looked at.
async fn reload(peer: Peer, view: &View) -> Reply {
    tracing::info!(by = %peer, "operator: reload");
    match view.reloads.ask().await {
        Ok(done) => text(StatusCode::OK, done),
        Err(ReloadRefusal::Bad(why)) => text(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(refusal @ ReloadRefusal::Late) => text(StatusCode::ACCEPTED, format!("{refusal}\n")),
        Err(refusal) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")),
    }
}

/// The body of a change of a node's state.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    state: String,
    #[serde(default)]
    accept_history: bool,
}

const FORM: &str = "{\"state\": \"ready|drain|maintenance\", \"accept_history\": true|false (with ready only)}";

async fn set_state(cluster: &str, node: &str, body: &[u8], peer: Peer, view: &View) -> Reply {
    let bad = |why: String| text(StatusCode::BAD_REQUEST, format!("{why}; the body is {FORM}\n"));
    let wish: Wish = match serde_json::from_slice(body) {
        Ok(wish) => wish,
        Err(e) => return bad(format!("not understood: {e}")),
    };
    let Some(state) = AdminState::parse(&wish.state) else { return bad("no such state".to_owned()) };
    if wish.accept_history && state != AdminState::Ready {
        return bad("accept_history goes with ready only".to_owned());
    }
    let layout = view.layout();
    let Some(found) = layout.clusters.iter().find(|c| &*c.name == cluster) else {
        let known: Vec<&str> = layout.clusters.iter().map(|c| &*c.name).collect();
        let why = format!("there is no cluster of that name; there is {}\n", known.join(", "));
        return text(StatusCode::NOT_FOUND, why);
    };
    let pool = found.pool.load();
    let Some(node) = pool.members.iter().map(|m| m.node.name()).find(|name| **name == *node) else {
        let known: Vec<_> = pool.members.iter().map(|m| m.node.name()).collect();
        let why = format!("cluster {cluster} has no node of that name; it has {}\n", known.join(", "));
        return text(StatusCode::NOT_FOUND, why);
    };
    let accept_history = wish.accept_history;
    let command = Command::SetState { node: Arc::clone(&node), state, accept_history };
    let done = found.commands.give(command).await;
    let word = state.as_str();
    match &done {
        Ok(_) => {
            tracing::info!(cluster, node = %node, state = word, accept_history, by = %peer, "operator");
            // Only a process that has taken over from another one listens.
            let _ = view.operated.send(Operated { cluster: Arc::clone(&found.name), node, state, accept_history });
        }
        Err(why) => {
            tracing::warn!(cluster, node = %node, state = word, accept_history, by = %peer, why = %why, "operator: refused");
        }
    }
    answer(done)
}

fn answer(done: Answer) -> Reply {
    match done {
        Ok(sentence) => text(StatusCode::OK, format!("{sentence}\n")),
        Err(why) => {
            let code = match why {
                Refusal::NoSuchNode(_) => StatusCode::NOT_FOUND,
                Refusal::NotPossible(_) => StatusCode::CONFLICT,
                Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            text(code, format!("{why}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_cluster_and_a_node() {
        let node = |c: &str, n: &str| Some(Route::Node(Some((c.to_owned(), n.to_owned()))));
        assert_eq!(Route::of("/api/clusters/main/nodes/db1"), node("main", "db1"));
        assert_eq!(Route::of("/api/clusters/main/nodes/%5B::1%5D:3307"), node("main", "[::1]:3307"));
        assert_eq!(Route::of("/api/clusters/main/nodes/%zz"), Some(Route::Node(None)));
        assert_eq!(Route::of("/api/notify"), Some(Route::Notify));
        assert_eq!(Route::of("/api/reload"), Some(Route::Reload));
        for other in
            ["/api/clusters/main/nodes", "/api/clusters/main/x/db1", "/api/clusters/main/nodes/db1/x", "/api/notify/"]
        {
            assert_eq!(Route::of(other), None, "{other}");
        }
    }
}
