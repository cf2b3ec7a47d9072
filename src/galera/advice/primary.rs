//! Some node is Primary: nothing must be bootstrapped.

use super::judge::{Holds, Node, State};
use super::words::{Servers, list, step};
use super::{Advice, Answer, Step, Verdict};

pub(super) fn advise(nodes: &[Node<'_>]) -> Advice {
    let primaries: Vec<&Node<'_>> = nodes.iter().filter(|n| n.is_primary()).collect();
    match find_split(&primaries) {
        Some(split) => apart(nodes, &primaries, split),
        None => one(nodes, &primaries),
    }
}

/// A sign that two Primary nodes are in different components.
struct Split {
    sign: String,
    certainty: Certainty,
}

/// What a sign is worth.
#[derive(Clone, Copy, PartialEq)]
enum Certainty {
    /// Two histories, or lists of members that exclude each other.
    Proven,
    /// Sizes and the like. A node that installs a view late shows them too, and is in the same component.
    Likely,
    /// The same, while a node is known to be late: paused, or behind.
    Doubtful,
}

/// The surest sign that there is. Two nodes that cannot be told apart pass for one component.
fn find_split(primaries: &[&Node<'_>]) -> Option<Split> {
    let mut weak = None;
    for (i, left) in primaries.iter().enumerate() {
        for right in primaries.iter().skip(i + 1) {
            if let (Some(a), Some(b)) = (left.answer(), right.answer())
                && let Some((how, is_proof)) = differ(a, b)
            {
                let sign = format!("{} and {} are both Primary, and {how}.", left.name(), right.name());
                if is_proof {
                    return Some(Split { sign, certainty: Certainty::Proven });
                }
                weak.get_or_insert(sign);
            }
        }
    }
    let is_late = primaries.iter().any(|n| n.answer().is_some_and(is_late));
    let certainty = if is_late { Certainty::Doubtful } else { Certainty::Likely };
    Some(Split { sign: weak.or_else(|| too_many(primaries))?, certainty })
}

/// Whether a node may show a view that the others have left: paused by a backup, behind in applying, or joining.
fn is_late(answer: &Answer) -> bool {
    answer.desynced || answer.applying || answer.joiner
}

fn too_many(primaries: &[&Node<'_>]) -> Option<String> {
    let mut members: Vec<_> = primaries.iter().filter_map(|n| n.member()).collect();
    members.sort();
    members.dedup();
    let size = primaries.iter().filter_map(|n| n.answer()?.size).min()?;
    let count = u64::try_from(members.len()).ok()?;
    (count > size).then(|| format!("{count} nodes are Primary, and each is in a component of {size}."))
}

/// What two nodes of one component share, and these do not; and whether that is a proof.
fn differ(a: &Answer, b: &Answer) -> Option<(String, bool)> {
    if a.member.is_some() && a.member == b.member {
        return None;
    }
    if let (Some(left), Some(right)) = (a.position, b.position)
        && left.uuid != right.uuid
        && !left.uuid.is_zero()
        && !right.uuid.is_zero()
        // What a joiner held before is no sign of where it is now.
        && !a.joiner
        && !b.joiner
    {
        return Some((format!("hold different histories ({} and {})", left.uuid, right.uuid), true));
    }
    // What they list tells for certain. Where one lists the other, one of them was asked a moment too early.
    if let (Some(left), Some(right), Some(one), Some(other)) = (&a.members, &b.members, a.member, b.member) {
        let apart = !left.contains(&other.to_string()) && !right.contains(&one.to_string());
        return apart.then(|| ("neither lists the other as a member (mysql.wsrep_cluster_members)".to_owned(), true));
    }
    // A joiner's list may lack itself.
    let addresses = a.addresses.as_ref().zip(b.addresses.as_ref()).filter(|_| !a.joiner && !b.joiner);
    if addresses.is_some_and(|(left, right)| left.is_disjoint(right)) {
        return Some(("their components share no member (wsrep_incoming_addresses)".to_owned(), true));
    }
    if let (Some(left), Some(right)) = (a.size, b.size)
        && left != right
    {
        return Some((format!("their components have different sizes (wsrep_cluster_size {left} and {right})"), false));
    }
    if addresses.is_some_and(|(left, right)| left != right) {
        return Some(("their components have different members (wsrep_incoming_addresses)".to_owned(), false));
    }
    match (a.index, b.index) {
        (Some(left), Some(right)) if left == right => {
            Some((format!("have the same place in it (wsrep_local_index {left}): their components are two"), false))
        }
        _ => None,
    }
}

fn apart(nodes: &[Node<'_>], primaries: &[&Node<'_>], split: Split) -> Advice {
    let mut why = vec![split.sign];
    for node in primaries {
        if let Some(answer) = node.answer() {
            let size = answer.size.map_or("unknown".to_owned(), |s| s.to_string());
            let members = answer.addresses.as_ref().map(|a| {
                let all: Vec<&str> = a.iter().map(String::as_str).collect();
                format!(" ({})", all.join(", "))
            });
            let late = if is_late(answer) {
                ", and may see a change of its component late: it is paused or behind"
            } else {
                ""
            };
            why.push(format!("{} is in a component of size {size}{}{late}.", node.name(), members.unwrap_or_default()));
        }
    }
    let ask_again = step(
        "Let the check read mysql.wsrep_cluster_members (GRANT SELECT on it, on every node that is Primary) and ask again: which \
         nodes are in which component is then certain, and only then are steps printed that give up a history. (Galera 3 has \
         no such table: set wsrep_node_incoming_address, and compare wsrep_incoming_addresses.)",
        Vec::new(),
    );
    let (verdict, headline, before, steps) = match split.certainty {
        Certainty::Doubtful => {
            let names: Vec<&str> = primaries.iter().map(|n| n.name()).collect();
            let headline =
                format!("Bootstrap nothing: {} are Primary, and whether in one component is not known.", list(&names));
            (Verdict::Refused, headline, Vec::new(), vec![ask_again])
        }
        certainty => {
            why.push(
                "Every write since the split is on one side only, whatever the seqnos say: they cannot be compared."
                    .to_owned(),
            );
            let headline = "Split brain: two components are Primary. Bootstrap nothing.".to_owned();
            let before = vec![
                "Keep all clients from one of the sides now: each write there is one more that must be carried over by \
                 hand."
                    .to_owned(),
                "Decide which side lives on, by its data, and dump what the other side alone holds.".to_owned(),
            ];
            let steps = if certainty == Certainty::Proven { give_up(Servers::of(nodes)) } else { vec![ask_again] };
            (Verdict::SplitBrain, headline, before, steps)
        }
    };
    let (nodes, warnings) = (report(nodes, None), notes(nodes));
    Advice { verdict, headline, why, nodes, warnings, before, steps, may_pass: true }
}

/// How one side of a split brain is given up.
fn give_up(servers: Servers) -> Vec<Step> {
    vec![
        step("Stop every node of the side that is given up:", servers.systemctl("stop")),
        step(
            "On each of them throw its history away, so that it receives everything by state transfer, and not only \
             what it seems to lack (its data directory is /var/lib/mysql unless configured otherwise):",
            vec![super::Command { label: "", line: "rm /var/lib/mysql/grastate.dat".to_owned() }],
        ),
        step("Start them one after the other, each when the last is Synced:", servers.systemctl("start")),
    ]
}

fn one(nodes: &[Node<'_>], primaries: &[&Node<'_>]) -> Advice {
    let servers = Servers::of(nodes);
    let served = primaries.iter().filter_map(|n| n.position()).max_by_key(|p| p.1);
    let names: Vec<&str> = primaries.iter().map(|n| n.name()).collect();
    let is = if names.len() == 1 { "is" } else { "are" };
    let mut why = Vec::new();
    // To start these is to lose what they alone hold.
    let mut keep_down = Vec::new();
    for node in nodes.iter().filter(|n| !n.is_primary()) {
        match (node.history(), node.position(), served) {
            (Some(history), _, Some((serving, _))) if history != serving => {
                why.push(format!(
                    "{} holds another history ({history}) than the Primary nodes ({serving}). If it joins, its data are \
                     replaced. If the Primary nodes were bootstrapped by mistake, it may be the one with the data.",
                    node.name()
                ));
                keep_down.push(node.name());
            }
            (_, Some((_, seqno)), Some((_, most))) if seqno > most => {
                why.push(format!(
                    "{} is at seqno {seqno}, further than the Primary nodes ({most}). If it joins, what it alone holds \
                     is lost. (If they were only slow to apply, asking again shows it.)",
                    node.name()
                ));
                keep_down.push(node.name());
            }
            _ => {
                if let Holds::Contradiction(how) = &node.holds {
                    why.push(format!("{}: {how}.", node.name()));
                    keep_down.push(node.name());
                }
            }
        }
    }
    let other = |wanted: &dyn Fn(State) -> bool| -> Vec<&str> {
        let fits = |n: &&Node<'_>| !n.is_primary() && wanted(n.state) && !keep_down.contains(&n.name());
        nodes.iter().filter(fits).map(Node::name).collect()
    };
    let start = other(&|s| matches!(s, State::Stopped | State::Crashed | State::Unknown));
    let rejoin = other(&|s| matches!(s, State::NonPrimary | State::Outside));
    let unasked = other(&|s| s == State::Unreadable);
    for node in nodes.iter().filter(|n| n.has_blank_grastate() && matches!(n.holds, Holds::Unknown(..))) {
        why.push(format!(
            "The grastate.dat of {} names no history (zeros), as after a crash in a DDL. If the Primary nodes were bootstrapped \
             after that, read its position before it is started (--wsrep-recover) and ask again: it may hold more, and by \
             joining it loses that.",
            node.name()
        ));
    }
    for (node, said) in nodes.iter().filter_map(|n| Some((n, n.unreadable()?))) {
        why.push(format!("{}: {said}. Whether it is Primary as well is not known.", node.name()));
    }
    let mut steps = Vec::new();
    if !start.is_empty() {
        let title = format!("Start {} as usual, one after the other, each when the last is Synced:", list(&start));
        steps.push(step(title, servers.systemctl("start")));
    }
    if !rejoin.is_empty() {
        let title = format!(
            "{} should rejoin by itself once it reaches the others (is the network whole?). If it does not, restart it:",
            list(&rejoin)
        );
        steps.push(step(title, servers.systemctl("restart")));
    }
    if !unasked.is_empty() {
        let title = format!(
            "Let the check log in on {} (--user, --password-file) and ask again; nothing says that a restart is needed.",
            list(&unasked)
        );
        steps.push(step(title, Vec::new()));
    }
    let (verdict, headline) = if keep_down.is_empty() {
        (Verdict::Primary, format!("Bootstrap nothing: {} {is} Primary.", list(&names)))
    } else {
        let held = list(&keep_down);
        (Verdict::Refused, format!("Bootstrap nothing, and do not start {held}: {} {is} Primary.", list(&names)))
    };
    if keep_down.is_empty() {
        why.push(
            "Where a component is Primary, a second one that is bootstrapped splits the cluster for good. The others join \
             the one that is there."
                .to_owned(),
        );
    } else {
        let held = list(&keep_down);
        steps.insert(
            0,
            step(
                format!("Copy the data directory of {held} aside before it is started, and decide which data live on."),
                Vec::new(),
            ),
        );
    }
    Advice {
        verdict,
        headline,
        why,
        nodes: report(nodes, Some(&keep_down)),
        warnings: notes(nodes),
        before: Vec::new(),
        steps,
        may_pass: false,
    }
}

fn notes(nodes: &[Node<'_>]) -> Vec<String> {
    nodes.iter().flat_map(|n| n.notes.clone()).collect()
}

/// The rows; with the names of those that must stay down, where it is known which may join.
fn report(nodes: &[Node<'_>], keep_down: Option<&[&str]>) -> Vec<super::NodeReport> {
    let meaning = |n: &Node<'_>| match keep_down {
        _ if n.is_primary() => "serves",
        Some(held) if held.contains(&n.name()) => "keep it down",
        Some(_) if n.state == State::Unreadable => "could not be asked",
        Some(_) if n.holds == Holds::Nothing => "joins; receives everything by state transfer",
        Some(_) => "joins",
        None => "",
    };
    nodes.iter().map(|n| n.report(None, meaning(n).to_owned())).collect()
}
