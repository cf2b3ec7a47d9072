//! What happened to one client on its way to a node.

use std::collections::HashMap;

use super::attempt::Failure;
use crate::pool::{NodeId, Pool, Wanted};

/// What happened on the way, for messages.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) attempts: u32,
    /// The last failure of each node that was tried.
    failures: HashMap<NodeId, String>,
    /// In order, for the access log; bounded.
    pub(super) log: String,
}

impl Trail {
    /// The access log shows this much of a long search.
    const LOG_MOST: usize = 400;

    /// And this much of one failure: a server's own text must not crowd the other nodes out of the answer.
    const FAILURE_MOST: usize = 120;

    /// TLS's own words are bounded, but for the names in certificates; what is wrong stands behind those, with what to do.
    const TLS_MOST: usize = 480;

    /// And of those in the answer to a client, which holds 512 bytes in all.
    const TLS_ANSWER_MOST: usize = 300;

    pub(super) fn failed(&mut self, name: &str, id: NodeId, failure: &Failure) {
        let most = if matches!(failure, Failure::Tls(_)) { Self::TLS_MOST } else { Self::FAILURE_MOST };
        let text = cut(failure.to_string(), most);
        if self.log.len() < Self::LOG_MOST {
            if !self.log.is_empty() {
                self.log.push_str("; ");
            }
            self.log.push_str(name);
            self.log.push_str(": ");
            self.log.push_str(&text);
        }
        // Another verdict is nothing that the node did to this client, and says its reason itself.
        if !matches!(failure, Failure::Withdrawn) {
            let brief = match failure {
                Failure::Tls(e) => cut(format!("TLS: {}", e.brief()), Self::TLS_ANSWER_MOST),
                _ => text,
            };
            self.failures.insert(id, brief);
        }
    }

    /// This node has failed the client before.
    pub(super) fn has_failed(&self, id: NodeId) -> bool {
        self.failures.contains_key(&id)
    }

    /// Why no node of `pool` serves, each in words.
    pub(super) fn reasons(&self, pool: &Pool, wanted: Wanted) -> Vec<String> {
        pool.reasons(wanted, |node| self.failures.get(&node.id).cloned())
    }
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}
