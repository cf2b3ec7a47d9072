//! Servers by themselves that take writes: which of them lacks what another one was sent.
//!
//! What is written on one server is on another one only if that replicates from it, directly or through others; which one
//! that is its channels say ([`Links`](super::super::server::Links)). Of two that were seen to take writes at one time, the
//! one that does not replicate from the writer gets nobody, and is not made the writer when the other dies, since it lacks
//! rows that clients were promised. Who decides is an operator: by `read_only` on the servers, or by taking one of them out
//! (drain, maintenance). A server that was seen to be opened for writing, by whoever moves the role of source there, was
//! chosen by them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::NodeId;
use super::super::node_state::{Contact, NodeState};
use super::super::reason::Reason;
use super::super::server::{Links, Takeover};
use super::super::settings::Sort;
use super::{Core, Entry};

/// What the servers that take writes are to each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Rivalry {
    /// Two that were seen to take writes at one time, the smaller first.
    beside: BTreeSet<(NodeId, NodeId)>,
    /// Pairs (server, member): the server has everything that the member wrote while both were in one group.
    grouped: BTreeSet<(NodeId, NodeId)>,
    /// Those that lack what is written on others, and on which.
    apart: BTreeMap<NodeId, Vec<NodeId>>,
    /// Those whose writes all the others get, but for those apart.
    heads: BTreeSet<NodeId>,
    /// The sources of each server among the others.
    sources: BTreeMap<NodeId, Vec<NodeId>>,
}

impl Core {
    /// Compares the servers that take writes, as of their last answers.
    pub(super) fn compare_servers(&mut self) {
        self.compare_groups();
        let takes = |e: &Entry| e.spec.sort == Sort::Server && e.is_open() && e.state.took_writes;
        let takers: Vec<NodeId> =
            self.nodes.iter().filter(|(_, e)| takes(e) && !self.is_stand_in(e)).map(|(id, _)| *id).collect();
        self.rivalry.beside.retain(|(a, b)| takers.contains(a) && takers.contains(b));
        let answering: Vec<NodeId> = takers.iter().filter(|id| self.takes_writes(**id)).copied().collect();
        let beside = &mut self.rivalry.beside;
        for (nth, a) in answering.iter().enumerate() {
            beside.extend(answering.iter().skip(nth + 1).map(|b| (*a, *b)));
        }
        self.rivalry.sources = self.sources();
        self.rivalry.apart = self.find_apart(&takers);
        self.rivalry.apart.extend(self.find_strays(&takers));
        let rest: Vec<NodeId> = takers.into_iter().filter(|id| !self.rivalry.apart.contains_key(id)).collect();
        self.rivalry.heads = self.heads(&rest);
    }

    /// What a member wrote before it left its group, the others have. What it takes later, outside the group, is its own.
    fn compare_groups(&mut self) {
        let state = |id| self.nodes.get(&id).map(|e| &e.state);
        let is_whole = |id, of| {
            let (Some(own), Some(other)) = (state(id), state(of)) else { return false };
            own.has_group && (!self.takes_writes(of) || other.links.is_grouped_with(&own.links))
        };
        self.rivalry.grouped = self.rivalry.grouped.iter().copied().filter(|(id, of)| is_whole(*id, *of)).collect();
    }

    /// A server has told which members its group has, for the first time or again. What it told before must not count again
    /// once another member has told that it left.
    pub(super) fn note_group(&mut self, id: NodeId, is_first: bool) {
        let Some(links) = self.nodes.get(&id).map(|e| &e.state.links) else { return };
        let others = || self.nodes.iter().filter(|(of, _)| **of != id);
        let members = others().filter(|(_, e)| links.is_grouped_with(&e.state.links)).map(|(of, _)| (id, *of));
        // Who it is, those did not know that named it by its UUID.
        let knew = others().filter(|(_, e)| is_first && e.state.links.is_grouped_with(links)).map(|(of, _)| (*of, id));
        let pairs: Vec<_> = members.chain(knew).collect();
        self.rivalry.grouped.extend(pairs);
    }

    /// Those of these whose writes all the others of them get.
    pub(super) fn heads(&self, among: &[NodeId]) -> BTreeSet<NodeId> {
        among.iter().copied().filter(|head| among.iter().all(|id| !self.lacks(*id, *head))).collect()
    }

    /// What is written on the one does not reach the other.
    fn lacks(&self, id: NodeId, of: NodeId) -> bool {
        let links = |id| self.nodes.get(&id).map(|e| &e.state.links);
        let is_same = links(id).zip(links(of)).and_then(|(one, other)| one.is_same_server(other)) == Some(true);
        id != of && !is_same && self.are_rivals(id, of) && !follows(&self.rivalry.sources, id, of)
    }

    /// Those that were found, take writes, and are none of the servers that go on until found ones serve.
    fn find_strays(&self, takers: &[NodeId]) -> Vec<(NodeId, Vec<NodeId>)> {
        let Some(writer) = self.taking_writer(takers) else { return Vec::new() };
        let is_stray = |id: NodeId, e: &Entry| {
            e.state.took_writes && self.twin(id).is_none() && !follows(&self.rivalry.sources, id, writer)
        };
        let found = self.nodes.iter().filter(|(_, e)| e.spec.sort == Sort::Server && self.is_stand_in(e));
        found.filter(|(id, e)| is_stray(**id, e)).map(|(id, _)| (*id, vec![writer])).collect()
    }

    /// The writer, or the one that was it last, was seen beside another server that takes writes.
    pub(super) fn has_rivals(&self, writer: NodeId) -> bool {
        self.nodes.keys().any(|id| self.rivalry.beside.contains(&(writer.min(*id), writer.max(*id))))
    }

    /// The one of these that has the role, or had it last, here or by another address.
    fn taking_writer(&self, takers: &[NodeId]) -> Option<NodeId> {
        let writer = self.writer.or(self.incumbent)?;
        let mut takers = takers.iter().copied();
        takers.clone().find(|id| *id == writer).or_else(|| takers.find(|id| self.twin(*id) == Some(writer)))
    }

    /// Those that lack what is written on the writer; where none is known, all, unless there is one that the others follow or
    /// that alone was opened by somebody's wish.
    fn find_apart(&self, takers: &[NodeId]) -> BTreeMap<NodeId, Vec<NodeId>> {
        let of = |writer: NodeId| {
            takers.iter().filter(|id| self.lacks(**id, writer)).map(|id| (*id, vec![writer])).collect()
        };
        if let Some(writer) = self.taking_writer(takers) {
            return of(writer);
        }
        if !self.heads(takers).is_empty() {
            return BTreeMap::new();
        }
        let mut opened = takers.iter().filter(|id| self.nodes.get(id).is_some_and(|e| e.state.was_opened));
        if let (Some(chosen), None) = (opened.next(), opened.next()) {
            return of(*chosen);
        }
        let others = |id: &NodeId| takers.iter().copied().filter(|other| other != id).collect();
        takers.iter().map(|id| (*id, others(id))).collect()
    }

    /// It answers, and takes them now.
    pub(super) fn takes_writes(&self, id: NodeId) -> bool {
        let state = self.nodes.get(&id).map(|e| &e.state);
        let is_offline = |s: &NodeState| matches!(s.reason, Reason::OfflineMode(_));
        state.is_some_and(|s| s.contact == Contact::Answers && s.writable == Some(true) && !is_offline(s))
    }

    /// Both were seen to take writes at one time; and the one was not opened by somebody's wish, with the other silent by now,
    /// or closed by its group.
    fn are_rivals(&self, a: NodeId, b: NodeId) -> bool {
        let was_opened = |id| self.nodes.get(&id).is_some_and(|e: &Entry| e.state.was_opened);
        let succeeds = |one: NodeId, other: NodeId| was_opened(one) && !self.takes_writes(other);
        self.rivalry.beside.contains(&(a.min(b), a.max(b))) && !succeeds(a, b) && !succeeds(b, a)
    }

    /// The sources of each server among the others.
    fn sources(&self) -> BTreeMap<NodeId, Vec<NodeId>> {
        let servers = self.nodes.iter().filter(|(_, e)| e.spec.sort == Sort::Server);
        let servers: Vec<_> = servers.map(|(id, e)| (*id, &e.state.links, self.is_own_id(&e.state.links))).collect();
        let of = |id: NodeId, links: &Links| -> Vec<NodeId> {
            let is_source = |(source, other, is_own_id): &&(NodeId, &Links, bool)| {
                links.names(other, *is_own_id) || self.rivalry.grouped.contains(&(id, *source))
            };
            servers.iter().filter(is_source).map(|(id, ..)| *id).collect()
        };
        servers.iter().map(|(id, links, _)| (*id, of(*id, links))).collect()
    }

    /// The servers whose writes this one lacks.
    pub(super) fn apart_from(&self, id: NodeId) -> Option<&[NodeId]> {
        self.rivalry.apart.get(&id).map(Vec::as_slice)
    }

    /// All other servers that take writes get what is written on this one.
    pub(super) fn is_head(&self, id: NodeId) -> bool {
        self.rivalry.heads.contains(&id)
    }

    /// Whether a server may be made the writer, by what it holds.
    pub(super) fn may_take_over(&self, id: NodeId, entry: &Entry) -> bool {
        if entry.spec.sort != Sort::Server || self.writer == Some(id) {
            return true;
        }
        if self.is_stand_in(entry) {
            return false;
        }
        let is_alone = || !self.nodes.keys().any(|other| *other != id && self.are_rivals(id, *other));
        self.apart_from(id).is_none()
            && match entry.state.takeover {
                Takeover::Ready => true,
                Takeover::Alone => is_alone(),
                Takeover::Never => false,
            }
    }

    /// Why the role waits for an operator, if it does.
    pub(super) fn rivalry_note(&self) -> Option<String> {
        let apart: Vec<NodeId> = self.rivalry.apart.keys().copied().collect();
        if apart.is_empty() {
            return None;
        }
        let names = self.names(&apart);
        let is_known = |id: &NodeId| self.nodes.get(id).is_some_and(|e| e.state.took_writes && !apart.contains(id));
        match self.writer.or(self.incumbent).filter(is_known) {
            None => Some(format!(
                "no writer: {names} take writes and do not replicate from each other; an operator decides, by read_only=ON \
                 on all but one of them or by galeway node NAME drain"
            )),
            Some(writer) if !self.nodes.get(&writer).is_some_and(|e| e.verdict.kind.serves()) => {
                let writer = self.name(writer);
                Some(format!(
                    "{names} would take writes, but lacks what was written on {writer}; to write there all the same: galeway \
                     node {writer} drain"
                ))
            }
            Some(_) => None,
        }
    }
}

/// Whether what is written on `of` reaches this server.
fn follows(sources: &BTreeMap<NodeId, Vec<NodeId>>, id: NodeId, of: NodeId) -> bool {
    let mut met = BTreeSet::from([id]);
    let mut next = vec![id];
    while let Some(at) = next.pop() {
        for source in sources.get(&at).into_iter().flatten() {
            if *source == of {
                return true;
            }
            if met.insert(*source) {
                next.push(*source);
            }
        }
    }
    false
}
