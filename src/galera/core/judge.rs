//! Verdicts: what each node may do by itself, and what the rest of the cluster makes of it.

use std::time::Instant;

use super::super::NodeId;
use super::super::fitness::Fitness;
use super::super::node_state::Contact;
use super::super::reason::{Consequence, Reason};
use super::super::settings::{Settings, Sort};
use super::super::verdict::{Change, Kind, Scope, Verdict};
use super::{Core, Effect, Entry, Outcome};

impl Core {
    /// Verdicts from all nodes' states together.
    pub(super) fn judge(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) {
        self.compare_servers();
        let (mut placed, mut best) = self.placed(settings);
        // Where only last resorts are left, one that said Synced is none any more, and beside it no donor serves.
        let spare = |id: &NodeId| placed.iter().any(|(other, fitness, _)| other == id && *fitness == Fitness::Spare);
        let of_ours = |(id, e): &(&NodeId, &Entry)| e.spec.sort != Sort::Replica && spare(id);
        let risen = self.nodes.iter().filter(|_| best.ours == Fitness::Spare).filter(of_ours);
        let risen: Vec<NodeId> = risen.map(|(id, _)| *id).collect();
        let mut rise = |id: &NodeId| self.nodes.get_mut(id).is_some_and(|e| e.state.rise_at_once());
        if risen.iter().filter(|id| rise(id)).count() > 0 {
            (placed, best) = self.placed(settings);
        }
        let verdicts: Vec<(NodeId, Verdict)> = placed
            .into_iter()
            .filter_map(|(id, fitness, reason)| {
                let entry = self.nodes.get(&id)?;
                let (kind, reason) = self.rule(entry, fitness, reason, best);
                let (kind, reason) = self.writes_on(id, entry, kind, reason);
                let scope = self.scope(id, entry, &reason);
                Some((id, Verdict { kind, reason, scope, room: entry.state.room, slow: entry.state.slow }))
            })
            .collect();
        for (node, verdict) in verdicts {
            let Some(entry) = self.nodes.get_mut(&node) else { continue };
            if !verdict.kind.serves() {
                entry.serves_since = None;
            } else if entry.serves_since.is_none() {
                entry.serves_since = Some(now);
            }
            if verdict == entry.verdict {
                continue;
            }
            outcome.publish = true;
            let from = std::mem::replace(&mut entry.verdict, verdict.clone());
            if from.kind != verdict.kind || from.reason != verdict.reason {
                outcome.effects.push(Effect::Changed(Change { node, from, to: verdict }));
            }
        }
    }

    /// What each node may do where it stands, and the most that one of those that are open to clients may.
    fn placed(&self, settings: &Settings) -> (Vec<(NodeId, Fitness, Reason)>, Best) {
        let placed = |(id, entry): (&NodeId, &Entry)| {
            let (fitness, reason) = self.place(settings, *id, entry);
            (*id, fitness, reason)
        };
        let mut placed: Vec<_> = self.nodes.iter().map(placed).collect();
        self.exclude_closed(&mut placed);
        let best = |replicas: bool| {
            let counts = |e: &Entry| e.is_open() && (e.spec.sort == Sort::Replica) == replicas;
            let open = placed.iter().filter(|(id, ..)| self.nodes.get(id).is_some_and(counts));
            open.map(|(_, fitness, _)| *fitness).max().unwrap_or(Fitness::None)
        };
        let best = Best { ours: best(false), replicas: best(true) };
        (placed, best)
    }

    /// What a node may do, where it stands among the others.
    fn place(&self, settings: &Settings, id: NodeId, entry: &Entry) -> (Fitness, Reason) {
        let own = (entry.state.fitness, entry.state.reason.clone());
        let unfit = |reason| (Fitness::None, reason);
        // Who is out by its own word needs no other. A veto or a donor's state does not end sessions, and on the wrong side
        // of a split they must end.
        let is_down = own.0 == Fitness::None && own.1.consequence() == Consequence::Down;
        if let Some(departure) = entry.leaving.filter(|_| !is_down) {
            return unfit(Reason::Left(departure));
        }
        let is_server_found = entry.spec.sort == Sort::Server && self.is_stand_in(entry) && !is_down;
        if let Some(twin) = self.living_twin(id).filter(|_| is_server_found) {
            return unfit(Reason::SameNode(self.name(twin)));
        }
        if let Some(others) = self.apart_from(id).filter(|_| !is_down) {
            return unfit(Reason::Apart(self.names(others)));
        }
        let Some(view) = entry.state.view.as_ref().filter(|_| !is_down) else { return own };
        let twin = |(other, e): (&NodeId, &Entry)| {
            let same = view.uuid.is_some() && e.state.view.as_ref().is_some_and(|v| v.uuid == view.uuid);
            // One that is about to be forgotten does not stand in for its successor by another address.
            (same && *other < id && e.leaving.is_none()).then(|| e.spec.name.clone())
        };
        if let Some(name) = self.nodes.iter().find_map(twin) {
            return unfit(Reason::SameNode(name));
        }
        // Until one is learned, that of the component that was chosen for now.
        let chosen = self.chosen.and_then(|i| self.components.all.get(i));
        let known = self.history(settings).or_else(|| chosen.and_then(|c| c.history.clone()));
        match (&known, &view.history) {
            // A cluster that lost its positions in a crash of all nodes runs with none (seen). Only who named the one that
            // may serve asks for more.
            (Some(_), None) if settings.state_uuid.is_some() => return unfit(Reason::NoHistory),
            (Some(known), Some(history)) if known != history => {
                let (history, node) = (history.clone(), entry.spec.name.clone());
                return unfit(Reason::Foreign { history, node, configured: settings.state_uuid.is_some() });
            }
            _ => {}
        }
        if let Some(stale) = self.components.stale.get(&id) {
            return unfit(Reason::StaleView(self.name(stale.by)));
        }
        let is_party = self.split.as_ref().is_some_and(|s| s.sides.iter().any(|side| side.contains(&id)));
        match chosen {
            Some(c) if c.nodes.contains(&id) => own,
            Some(c) if is_party => unfit(Reason::Fenced(self.names(&c.nodes))),
            Some(c) => unfit(Reason::Outside(self.names(&c.nodes))),
            None if is_party && settings.refuse_split_brain => unfit(Reason::Refused),
            None if is_party => unfit(Reason::Undecided),
            None => {
                let served: Vec<NodeId> = self.served.iter().copied().collect();
                unfit(Reason::Outside(self.names(&served)))
            }
        }
    }

    fn rule(&self, entry: &Entry, fitness: Fitness, reason: Reason, best: Best) -> (Kind, Reason) {
        match (&entry.state.contact, fitness) {
            (Contact::Never, _) => (Kind::Unknown, reason),
            (_, Fitness::Full) => (Kind::Eligible, reason),
            (_, Fitness::Spare) if best.leaves_room(entry.spec.sort) => (Kind::LastResort, last_resort(&reason)),
            // Whatever it refuses: it is the name that does not lead there.
            (_, Fitness::None) if matches!(reason, Reason::Left(_) | Reason::Apart(_)) => (Kind::Excluded, reason),
            // Where all are so the fault may be on our side, and some clients may get through.
            (_, Fitness::None)
                if matches!(reason, Reason::NoNewConnections(_))
                    && (best.is_nothing(entry.spec.sort) || self.is_alone_in_writing(entry))
                    && self.split.is_none() =>
            {
                (Kind::LastResort, last_resort(&reason))
            }
            (Contact::Refuses { was_fit: true }, _) => match (self.is_listed(entry), reason) {
                (Some(true), Reason::LoginRefused(why)) => (Kind::Eligible, Reason::LoginRefusedMember(why)),
                (Some(false), reason) => (Kind::Excluded, reason),
                // A rotated password shuts the check out of every node at once, since Galera replicates accounts; but for
                // a node that was cut off before, which still takes the old one, and is of no use.
                (_, reason) if best.ours == Fitness::None && self.split.is_none() => {
                    (Kind::LastResort, last_resort(&reason))
                }
                (_, reason) => (Kind::Excluded, reason),
            },
            _ => (Kind::Excluded, reason),
        }
    }

    /// A writer whose own replication fails goes on writing: nobody else has what was written there.
    fn writes_on(&self, id: NodeId, entry: &Entry, kind: Kind, reason: Reason) -> (Kind, Reason) {
        let goes_on = self.writer == Some(id) && entry.is_only_for_writers(&reason);
        match kind {
            Kind::Excluded if goes_on => (Kind::Eligible, Reason::WritesOnly(Box::new(reason))),
            _ => (kind, reason),
        }
    }

    fn scope(&self, id: NodeId, entry: &Entry, reason: &Reason) -> Scope {
        match (entry.spec.sort, reason) {
            (Sort::Server, Reason::WritesOnly(_)) => Scope::Writers,
            // What is written on one that is no head some others never get.
            (Sort::Server, _) if !self.is_head(id) => Scope::Readers,
            (Sort::Replica, _) => Scope::Readers,
            (Sort::Member | Sort::Server | Sort::Port, _) => Scope::All,
        }
    }

    /// Whether the nodes that are served list this one as a member, in the life in which it was last seen.
    fn is_listed(&self, entry: &Entry) -> Option<bool> {
        let uuid = entry.state.uuid.as_deref()?;
        self.listed_by(self.served(), Some(uuid), None)
    }
}

/// The most that nodes which are open to clients may do.
#[derive(Debug, Clone, Copy)]
struct Best {
    /// Of those that are no replicas. A replica is no reason to keep a donor, or a member whose account was changed, from
    /// serving.
    ours: Fitness,
    replicas: Fitness,
}

impl Best {
    /// Whether a node of this sort that is no more than a last resort is wanted. A replica that lost its source long ago
    /// has older data than a donor, and than a replica that goes on.
    fn leaves_room(self, sort: Sort) -> bool {
        match sort {
            Sort::Replica => self.ours == Fitness::None && self.replicas <= Fitness::Spare,
            Sort::Member | Sort::Server | Sort::Port => self.ours <= Fitness::Spare,
        }
    }

    /// Whether nothing serves in place of a node of this sort.
    fn is_nothing(self, sort: Sort) -> bool {
        self.ours == Fitness::None && (sort != Sort::Replica || self.replicas == Fitness::None)
    }
}

fn last_resort(reason: &Reason) -> Reason {
    match reason {
        Reason::Donor { state } => Reason::DonorLastResort { state: *state },
        Reason::LoginRefused(why) => Reason::LoginRefusedLastResort(why.clone()),
        Reason::NoNewConnections(why) => Reason::NoNewConnectionsLastResort(why.clone()),
        Reason::SourceLostTooLong => Reason::SourceLostLastResort,
        other => other.clone(),
    }
}
