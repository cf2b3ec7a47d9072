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

    pub(super) fn failed(&mut self, name: &str, id: NodeId, failure: &Failure) {
        let mut text = failure.to_string();
        if text.len() > Self::FAILURE_MOST {
            text.truncate(text.floor_char_boundary(Self::FAILURE_MOST));
            text.push('…');
        }
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
            self.failures.insert(id, text);
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
