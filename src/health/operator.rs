//! What an operator asks of a cluster.

use super::watch::ClusterWatch;
use crate::galera::Event;
use crate::pool::{AdminState, Answer, Command, NodeId, Refusal};

impl ClusterWatch {
    /// Does what an operator asks.
    pub(super) fn command(&self, command: Command) -> Answer {
        match command {
            Command::Look => {
                self.look();
                Ok("looking at every node".to_owned())
            }
            Command::SetState { node, state, accept_history } => {
                let Some(watched) = self.nodes().iter().find(|n| n.node.name() == node).cloned() else {
                    let names: Vec<String> = self.nodes().iter().map(|n| n.node.name().to_string()).collect();
                    let known = names.join(", ");
                    let cluster = self.name();
                    return Err(Refusal::NoSuchNode(format!("cluster {cluster} has no node {node}; it has {known}")));
                };
                let id = watched.node.id;
                let accepted = if accept_history { Some(self.accept_history(id, &node)?) } else { None };
                let is_writer = self.pool().load().standing.writer == Some(id);
                self.happened(Event::Operator(id, state));
                let set = format!("{node} of cluster {} is now set to {}", self.name(), state.as_str());
                Ok(match (accepted, state) {
                    (Some(history), _) => format!("{set}; from now on only history {history} is served"),
                    (None, AdminState::Ready) => set,
                    (None, _) => {
                        let left = "nobody new is sent there, what is left ends after drain_timeout";
                        let writer = "it was the writer: another node takes the role at once, if one can";
                        if is_writer { format!("{set}: {left}; {writer}") } else { format!("{set}: {left}") }
                    }
                })
            }
        }
    }

    fn accept_history(&self, id: NodeId, node: &str) -> Result<Box<str>, Refusal> {
        if let Some(ours) = &self.rules().config.state_uuid {
            let cluster = self.name();
            return Err(Refusal::NotPossible(format!(
                "the configuration names the history of cluster {cluster}: state_uuid = \"{ours}\"; change it there"
            )));
        }
        let Some(history) = self.history_of(id) else {
            return Err(Refusal::NotPossible(format!(
                "{node} is not known to be in a Primary component now, so there is no history of it to accept"
            )));
        };
        tracing::warn!(cluster = self.name(), node, history = %history, "history accepted by the operator");
        self.happened(Event::AcceptHistory(id));
        Ok(history)
    }
}
