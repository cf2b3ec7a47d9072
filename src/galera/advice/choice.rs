//! No node is Primary: which one to bootstrap, or what forbids to name one.

use std::collections::BTreeMap;

use super::judge::{Holds, Node, State};
use super::words::{self, Servers, list, step, transactions};
use super::{Advice, Step, Verdict};
use crate::galera::files::{Gvwstate, Uuid};

pub(super) fn advise(nodes: &[Node<'_>]) -> Advice {
    match (obstacles(nodes), choose(nodes)) {
        (obstacles, Some(chosen)) if obstacles.is_empty() => named(nodes, chosen),
        (obstacles, _) => refused(nodes, obstacles),
    }
}

/// The highest position. Of equals: one whose `grastate.dat` is not blank, since a blank one may also be that of an
/// interrupted state transfer; then the one that was the last to leave, one that runs, the first.
fn choose<'n, 'a>(nodes: &'n [Node<'a>]) -> Option<&'n Node<'a>> {
    let rank = |n: &Node<'_>| {
        let last_to_leave = n.safe() == Some(true);
        (n.position().map(|p| p.1), !n.has_blank_grastate(), last_to_leave, n.state == State::NonPrimary)
    };
    // The last of equals is what max_by_key returns.
    nodes.iter().rev().filter(|n| n.position().is_some()).max_by_key(|n| rank(n))
}

/// Histories, each with the nodes that hold it.
fn histories<'a>(nodes: &[Node<'a>]) -> BTreeMap<Uuid, Vec<String>> {
    let mut histories: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for node in nodes {
        if let Some(uuid) = node.history() {
            let at = node.position().map_or("position unknown".to_owned(), |p| format!("seqno {}", p.1));
            histories.entry(uuid).or_default().push(format!("{} ({at})", node.name()));
        }
    }
    histories
}

fn obstacles(nodes: &[Node<'_>]) -> Vec<String> {
    let mut obstacles = Vec::new();
    for node in nodes {
        match &node.holds {
            Holds::Contradiction(how) => obstacles.push(format!("{}: {how}.", node.name())),
            Holds::Unknown(_, why) => obstacles.push(format!("{}: its position is unknown: {why}.", node.name())),
            Holds::Nothing | Holds::Position(..) => {}
        }
    }
    let histories = histories(nodes);
    if histories.len() > 1 {
        let each: Vec<String> = histories.iter().map(|(uuid, nodes)| format!("{uuid} on {}", list(nodes))).collect();
        obstacles.push(format!(
            "There are {} histories: {}. Their seqnos cannot be compared. Look at the data, decide which one lives on, \
             and ask again with its nodes only; the other nodes then need their data removed, and a state transfer.",
            histories.len(),
            each.join("; ")
        ));
    }
    if nodes.iter().all(|n| n.holds == Holds::Nothing) {
        obstacles.push(
            "No node holds any data of a cluster: the logs of all name no history. To bootstrap one is to found a new cluster on \
             what that node happens to hold: that is yours to decide."
                .to_owned(),
        );
    }
    obstacles
}

fn refused(nodes: &[Node<'_>], why: Vec<String>) -> Advice {
    let servers = Servers::of(nodes);
    let unknown: Vec<&Node<'_>> = nodes.iter().filter(|n| matches!(n.holds, Holds::Unknown(..))).collect();
    let reason = if histories(nodes).len() > 1 {
        "the nodes hold different histories".to_owned()
    } else if nodes.iter().any(|n| matches!(n.holds, Holds::Contradiction(_))) {
        "what a node has left behind contradicts itself".to_owned()
    } else if unknown.is_empty() {
        "no node holds any history".to_owned()
    } else {
        let names: Vec<&str> = unknown.iter().map(|n| n.name()).collect();
        format!("the position of {} is unknown", list(&names))
    };
    let restore = restore(nodes, servers);
    let mut steps: Vec<Step> = restore
        .map(|s| Step { title: format!("Try this first, without any bootstrap: {}", s.title), ..s })
        .into_iter()
        .collect();
    steps.extend(find_out(&unknown, servers));
    let meaning = |n: &Node<'_>| match &n.holds {
        Holds::Nothing => "holds no history",
        Holds::Position(..) => "position known",
        Holds::Unknown(..) => "position unknown",
        Holds::Contradiction(_) => "contradicts itself",
    };
    Advice {
        verdict: Verdict::Refused,
        headline: format!("No node is safe to bootstrap: {reason}."),
        why,
        nodes: nodes.iter().map(|n| n.report(None, meaning(n).to_owned())).collect(),
        warnings: warnings(nodes, None),
        before: Vec::new(),
        steps,
        may_pass: false,
    }
}

/// How the positions that are unknown are found.
fn find_out(unknown: &[&Node<'_>], servers: Servers) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut read = Vec::new();
    for node in unknown {
        let name = node.name();
        match node.state {
            _ if node.has_unfinished_transfer() => steps.push(step(
                format!(
                    "{name} holds a piece of another node's data: leave it out, and it receives everything when it joins. (If \
                     its error log says that the transfer ended, give its files one by one instead of the directory.)"
                ),
                Vec::new(),
            )),
            // Its grastate.dat will still name none.
            _ if node.runs_without_history() => {
                steps.push(step(format!("{name} runs without a history. Stop it:"), servers.systemctl("stop")));
                read.push(name);
            }
            State::Unreadable => steps.push(step(
                format!(
                    "{name} runs: let the check log in there (--user, --password-file), or stop it and give its files."
                ),
                Vec::new(),
            )),
            State::NonPrimary | State::Outside | State::Primary => steps.push(step(
                format!(
                    "{name} runs. If asking again does not help, stop it in an orderly way and give its grastate.dat:"
                ),
                servers.systemctl("stop"),
            )),
            State::Stopped | State::Crashed | State::Unknown => read.push(name),
        }
    }
    for name in &read {
        let title = format!("Read the position of {name}, on its machine, once no server runs there:");
        steps.push(step(title, servers.recover(name)));
    }
    if !read.is_empty() {
        steps.push(step(
            "Ask again with each of these logs beside the rest, as --file NAME=LOG. Their last lines say `WSREP: Recovered \
             position: UUID:SEQNO` (MariaDB's galera_recovery, run as root, prints the same). A node whose data are lost \
             for good, or that never was in the cluster: leave it out.",
            Vec::new(),
        ));
    }
    steps
}

fn named(nodes: &[Node<'_>], chosen: &Node<'_>) -> Advice {
    let servers = Servers::of(nodes);
    let name = chosen.name();
    let Some((history, most)) = chosen.position() else { return refused(nodes, Vec::new()) };
    let meaning = |n: &Node<'_>| match n.position() {
        _ if n.name() == name => "bootstrap this one".to_owned(),
        None => "no history: receives everything by state transfer".to_owned(),
        Some((_, seqno)) if seqno == most => "has the same".to_owned(),
        Some((_, seqno)) => {
            format!("{} behind: receives them when it joins", transactions(most.saturating_sub(seqno)))
        }
    };
    Advice {
        verdict: Verdict::Bootstrap(name.to_owned()),
        headline: format!("Bootstrap {name}."),
        why: why(nodes, chosen, history, most),
        nodes: nodes.iter().map(|n| n.report(Some((history, most)), meaning(n))).collect(),
        warnings: warnings(nodes, Some(chosen)),
        before: before(nodes, chosen),
        steps: steps(nodes, chosen, servers),
        may_pass: false,
    }
}

fn why(nodes: &[Node<'_>], chosen: &Node<'_>, history: Uuid, most: u64) -> Vec<String> {
    let name = chosen.name();
    let others = nodes.iter().filter(|n| n.name() != name);
    let equals: Vec<&str> = others.filter(|n| n.position() == Some((history, most))).map(Node::name).collect();
    let mut why =
        vec![format!("{name} is at seqno {most} of history {history}, and no other node named here is further.")];
    if !equals.is_empty() {
        let because = if chosen.safe() == Some(true) {
            "was the last to leave (safe_to_bootstrap: 1)"
        } else if chosen.state == State::NonPrimary {
            "still runs"
        } else {
            "was named first"
        };
        why.push(format!(
            "{} as far; {name} {because}.",
            match equals.len() {
                1 => format!("{} is", list(&equals)),
                _ => format!("{} are", list(&equals)),
            }
        ));
    }
    if chosen.has_blank_grastate() {
        why.push(format!(
            "The grastate.dat of {name} names no history, since it crashed in a DDL; what its storage engine holds counts. That \
             DDL may have to be run again."
        ));
    }
    why.push(
        "Nothing is lost that any node named here holds: what others lack they receive when they join.".to_owned(),
    );
    why
}

fn before(nodes: &[Node<'_>], chosen: &Node<'_>) -> Vec<String> {
    let mut before = Vec::new();
    let quiet = |n: &&Node<'_>| matches!(n.state, State::Stopped | State::Crashed) && n.silence().is_none();
    let down: Vec<&str> = nodes.iter().filter(quiet).map(Node::name).collect();
    if !down.is_empty() {
        before.push(format!(
            "No server runs on {}: `pgrep -l 'mariadbd|mysqld'` prints nothing there. Files do not tell.",
            list(&down)
        ));
    }
    for node in nodes {
        if let Some(why) = node.silence() {
            before.push(format!(
                "{} does not answer from here ({why}). Look on that machine: if it only is cut off and serves, a \
                 bootstrap splits the cluster for good.",
                node.name()
            ));
        }
    }
    if let Some((of, missing, perhaps)) = missing(nodes) {
        let who = if perhaps.is_empty() {
            "none of the nodes named here".to_owned()
        } else {
            format!("none that a gvwstate.dat given here is of (perhaps {})", list(&perhaps))
        };
        for uuid in missing {
            before.push(format!(
                "The last view of {of} has a member {uuid} that is {who}. It may hold more, or serve: find it, and name \
                 it here too. (An arbitrator, garbd, is such a member as well: it holds nothing.)"
            ));
        }
    }
    if chosen.has_blank_grastate() {
        before.push(format!(
            "{0} was not in the middle of a state transfer when it ended: in its error log no `Shifting PRIMARY -> JOINER` \
             stands after the last `Shifting JOINER -> JOINED`. Its grastate.dat names no history after a crash in a DDL, \
             which loses nothing, and in a state transfer, which leaves a piece of the data: then ask again without {0}.",
            chosen.name()
        ));
    }
    if chosen.state == State::NonPrimary {
        before.push(format!("Run it on {} alone: two bootstrapped components diverge for good.", chosen.name()));
    }
    before.push(
        "No node of this cluster that was not named here is Primary anywhere (another data centre, nodes beside a \
         garbd)."
            .to_owned(),
    );
    before
}

fn steps(nodes: &[Node<'_>], chosen: &Node<'_>, servers: Servers) -> Vec<Step> {
    let name = chosen.name();
    let Some((uuid, seqno)) = chosen.position() else { return Vec::new() };
    let others = || nodes.iter().filter(|n| n.name() != name);
    let mut steps = Vec::new();
    if let (State::NonPrimary, Some(answer)) = (chosen.state, chosen.answer()) {
        steps.push(step(
            format!("Make the component of {name} Primary, with an account that has SUPER:"),
            Servers::pc_bootstrap(answer),
        ));
    } else {
        if chosen.state == State::Outside {
            steps.push(step(
                format!("{name} runs in no group, and pc.bootstrap does nothing there. Stop it:"),
                servers.systemctl("stop"),
            ));
        }
        let data = "its data directory is /var/lib/mysql unless configured otherwise";
        let history = (chosen.has_blank_grastate() || chosen.lacks_grastate()).then_some(uuid);
        let is_stale = chosen.has_stale_seqno();
        if history.is_some() || is_stale || chosen.may_need_safe() {
            let and = match history {
                Some(_) => {
                    ", and name its history where grastate.dat names none (else it begins a new one, and the data of all \
                     others are replaced)"
                }
                None if is_stale => ", and take the old seqno out",
                None => "",
            };
            let title = format!("On {name}, allow it{and} ({data}):");
            steps.push(step(title, vec![words::edit_grastate(history, is_stale)]));
        }
        steps.push(step(format!("On {name}, bootstrap:"), servers.new_cluster(uuid, seqno)));
    }
    let running: Vec<&str> = others().filter(|n| n.answer().is_some()).map(Node::name).collect();
    let down: Vec<&str> = others().filter(|n| n.answer().is_none()).map(Node::name).collect();
    let primary = format!("Once {name} says wsrep_cluster_status = Primary");
    if !down.is_empty() {
        let title = format!("{primary}, start {}, one after the other, each when the last is Synced:", list(&down));
        steps.push(step(title, servers.systemctl("start")));
    }
    if !running.is_empty() {
        let title = format!("{primary}, {} should follow within seconds; restart what does not:", list(&running));
        steps.push(step(title, servers.systemctl("restart")));
    }
    steps.extend(restore(nodes, servers).map(|s| Step { title: format!("Or, instead of all this: {}", s.title), ..s }));
    steps
}

/// The newest view that a crashed node remembers, and of which node.
fn last_view<'a>(nodes: &[Node<'a>]) -> Option<(&'a str, &'a Gvwstate)> {
    let number = |g: &Gvwstate| g.view_id.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok());
    let views = nodes.iter().filter_map(|n| Some((n.name(), n.gvwstate()?)));
    views.max_by_key(|(_, g)| number(g))
}

/// Members of the last view that no node given is: whose view, which, and which nodes they may be after all.
fn missing<'a>(nodes: &[Node<'a>]) -> Option<(&'a str, Vec<Uuid>, Vec<&'a str>)> {
    let (of, view) = last_view(nodes)?;
    let known: Vec<Uuid> = nodes.iter().filter_map(Node::member).collect();
    let missing = view.members.iter().copied().filter(|m| !known.contains(m)).collect();
    let nameless = |n: &&Node<'_>| n.state == State::Crashed && n.holds != Holds::Nothing && n.member().is_none();
    Some((of, missing, nodes.iter().filter(nameless).map(Node::name).collect()))
}

/// The way without a bootstrap: where every member of the last view is there, they restore it as soon as all of them
/// see each other (`pc.recovery`, on by default). Only where no other node has a history, which might be further, and where
/// each member's `grastate.dat` names its history and no position: the server believes the position on its command line
/// only then. A member whose file is blank would be given other data though it may hold the most, and where all are
/// blank each keeps its own data under one new history (seen on 26.4.23).
fn restore(nodes: &[Node<'_>], servers: Servers) -> Option<Step> {
    let (_, view) = last_view(nodes)?;
    let mut start = Vec::new();
    for node in nodes {
        match node.gvwstate() {
            Some(own) if own.view_id == view.view_id && node.can_restore_its_view() => start.push(node.name()),
            None if node.state == State::NonPrimary || node.holds == Holds::Nothing => {}
            _ => return None,
        }
    }
    let here: Vec<Uuid> = nodes.iter().filter_map(Node::member).collect();
    let strangers = here.iter().any(|m| !view.members.contains(m));
    let contradiction = nodes.iter().any(|n| matches!(n.holds, Holds::Contradiction(_)));
    if strangers || contradiction || histories(nodes).len() > 1 || !view.members.iter().all(|m| here.contains(m)) {
        return None;
    }
    let (who, each, its) = match &start[..] {
        [] => return None,
        [one] => ((*one).to_owned(), "It has", "that view"),
        _ => (format!("{} within 30 s of each other", list(&start)), "Each has", "it"),
    };
    let title = format!(
        "start {who}, by systemd. {each} kept the last view in gvwstate.dat, and the members restore {its} by themselves \
         once all of them see each other (pc.recovery, on unless configured otherwise). Started by hand, each needs its \
         position (--wsrep-start-position=UUID:SEQNO)."
    );
    Some(step(title, servers.systemctl("start")))
}

fn warnings(nodes: &[Node<'_>], chosen: Option<&Node<'_>>) -> Vec<String> {
    let mut warnings: Vec<String> = nodes.iter().flat_map(|n| n.notes.clone()).collect();
    let safe: Vec<&Node<'_>> = nodes.iter().filter(|n| n.safe() == Some(true)).collect();
    if safe.len() > 1 {
        let names: Vec<&str> = safe.iter().map(|n| n.name()).collect();
        warnings.push(format!(
            "{} say safe_to_bootstrap: 1. At most one node can have left last: somebody edited a file, or they were \
             not in one cluster at the end.",
            list(&names)
        ));
    }
    for node in &safe {
        let ahead = |o: &&Node<'_>| match (o.position(), node.position()) {
            (Some((its, further)), Some((own, seqno))) => its == own && further > seqno,
            _ => false,
        };
        if let Some(other) = nodes.iter().filter(ahead).max_by_key(|o| o.position().map(|p| p.1)) {
            warnings.push(format!(
                "{} says safe_to_bootstrap: 1, and {} is further: do not bootstrap {0}.",
                node.name(),
                other.name()
            ));
        }
    }
    for (i, node) in nodes.iter().enumerate() {
        let same = |o: &&Node<'_>| o.answer().is_some() && o.member() == node.member();
        if node.answer().is_some_and(|a| a.member.is_some())
            && let Some(other) = nodes.iter().skip(i + 1).find(same)
        {
            warnings.push(format!("{} and {} are one node (wsrep_gcomm_uuid).", node.name(), other.name()));
        }
    }
    if let ([only], Some(_)) = (nodes, chosen) {
        warnings.push(format!(
            "Only {} was named: whether another node is further this cannot say. Name every node whose data still exist.",
            only.name()
        ));
    }
    warnings
}
