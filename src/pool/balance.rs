//! Picking one node of a snapshot. Pure: the same snapshot, counters and question give the same node.

use std::cmp::Ordering;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::snapshot::{Member, Pool, Wanted};
use crate::config::Balance;

/// Members of one snapshot that were tried already.
#[derive(Debug, Default, Clone)]
pub struct Tried(SmallVec<[usize; 4]>);

impl Tried {
    /// Remembers a member.
    pub fn add(&mut self, index: usize) {
        self.0.push(index);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was tried yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, index: usize) -> bool {
        self.0.contains(&index)
    }
}

/// What a client asks of a pick.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Which nodes.
    pub wanted: Wanted,
    /// How one of them is picked.
    pub balance: Balance,
    /// Nodes of this zone come before others that are as good.
    pub zone: Option<&'a str>,
    /// The connection's number at the service.
    pub ticket: usize,
    /// Of the client, see [`source_key`].
    pub source: u64,
}

/// What [`Balance::Source`] goes by. An IPv4 address is the same one in its IPv6 form; clients without an address, those
/// of Unix sockets, are one client.
pub fn source_key(client: Option<IpAddr>) -> u64 {
    match client.map(|ip| ip.to_canonical()) {
        None => key_of(&[]),
        Some(IpAddr::V4(ip)) => key_of(&ip.octets()),
        Some(IpAddr::V6(ip)) => key_of(&ip.octets()),
    }
}

/// A number that spreads names and addresses, the same in every process and version: balancers beside each other must
/// send a client to the same node. FNV-1a, mixed.
pub(super) fn key_of(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    mix(bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
}

/// Each bit of the result depends on each bit of `x` (the finalizer of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Members of one snapshot that are as good as each other, by their places in it.
type Equals = SmallVec<[u16; 32]>;

/// The best of a class of members.
struct Best {
    rank: u8,
    members: Equals,
}

impl Best {
    fn none() -> Self {
        Self { rank: u8::MAX, members: Equals::new() }
    }

    fn add(&mut self, rank: u8, member: u16) {
        if rank < self.rank {
            self.rank = rank;
            self.members.clear();
        }
        if rank == self.rank {
            self.members.push(member);
        }
    }
}

/// Picks a member that is wanted, serves, has a place and was not tried.
///
/// A backup is picked only where no other member serves that was not tried; that those are full is no reason to send
/// somebody to it. Of the rest the lower rank wins: a node without room comes after every node with room; among those the
/// writer that is a reader's last resort comes after the readers, a slow node after one that is not, then a suspect one, which
/// is still picked where nothing better is left, since a node that fails some clients beats none; and of equals those of
/// another zone come last.
pub fn pick(pool: &Pool, ask: &Ask<'_>, tried: &Tried) -> Option<usize> {
    let mut regular = false;
    let (mut best, mut spare) = (Best::none(), Best::none());
    for (place, (i, m)) in (0..).zip(pool.members.iter().enumerate()) {
        if !pool.suits(i, m, ask.wanted) || tried.contains(i) {
            continue;
        }
        regular |= !m.backup;
        if !m.is_full() {
            let class = if m.backup { &mut spare } else { &mut best };
            class.add(rank(pool, ask, i, m), place);
        }
    }
    let among = Among { pool, members: if regular { best.members } else { spare.members } };
    // Counters move while they are read: what was the best a moment ago is good enough.
    let first = usize::from(*among.members.first()?);
    let picked = match ask.balance {
        Balance::First => None,
        Balance::RoundRobin => in_turn(&among, ask.ticket),
        Balance::LeastConnections => least_loaded(&among, ask.ticket),
        Balance::Random => better_of_two(&among, ask.ticket),
        Balance::Source => at_home(&among, ask.source),
    };
    Some(picked.unwrap_or(first))
}

/// Those that one is picked of.
struct Among<'a> {
    pool: &'a Pool,
    members: Equals,
}

impl<'a> Among<'a> {
    /// Each with its place in the snapshot.
    fn iter(&self) -> impl Iterator<Item = (usize, &'a Member)> + '_ {
        let pool = self.pool;
        self.members.iter().filter_map(|i| Some((usize::from(*i), pool.members.get(usize::from(*i))?)))
    }

    fn weight(&self) -> u64 {
        self.iter().map(|(_, m)| u64::from(m.weight)).sum()
    }

    /// The member whose part of the weights, laid end to end without that of `except`, holds this point.
    fn at_point(&self, point: u64, except: Option<usize>) -> Option<(usize, &'a Member)> {
        let mut end = 0;
        self.iter().filter(|(i, _)| Some(*i) != except).find(|(_, m)| {
            end += u64::from(m.weight);
            point < end
        })
    }
}

/// Lower is better.
fn rank(pool: &Pool, ask: &Ask<'_>, index: usize, member: &Member) -> u8 {
    let verdict = &member.verdict;
    u8::from(!verdict.room) * 16
        + u8::from(pool.is_last_resort(index, ask.wanted)) * 8
        + u8::from(verdict.slow.is_some()) * 4
        + u8::from(member.node.is_suspect()) * 2
        + u8::from(ask.zone.is_some_and(|zone| zone != &*member.zone))
}

/// The member whose turn it is. The turns of a node that is passed over go round among the others, by their weights: its
/// successor alone would get double its share just when one node less carries the load.
fn in_turn(among: &Among<'_>, ticket: usize) -> Option<usize> {
    let turns = &among.pool.turns;
    let mine = *turns.get(ticket.checked_rem(turns.len())?)?;
    if among.members.contains(&mine) {
        return Some(usize::from(mine));
    }
    // With the turn's own place: one round's turns of that node go to different ones.
    let round = u64::try_from(ticket.checked_div(turns.len())?.wrapping_add(ticket.checked_rem(turns.len())?)).ok()?;
    let total = among.weight();
    // Every point once in `total` rounds, and neighbours far apart.
    let stride = (total.saturating_mul(618) / 1000..).find(|s| *s > 0 && gcd(*s, total) == 1)?;
    let point = round.checked_rem(total)?.wrapping_mul(stride).checked_rem(total)?;
    among.at_point(point, None).map(|(i, _)| i)
}

/// The member with the fewest sessions for its weight. Of equals the one whose turn it is by the weights, or who comes next
/// after it: idle nodes get their share as busy ones do.
fn least_loaded(among: &Among<'_>, ticket: usize) -> Option<usize> {
    let turn = in_turn(among, ticket)?;
    let mut best: Option<(usize, Load)> = None;
    for (i, m) in among.iter() {
        let load = Load::of(m);
        let order = best.as_ref().map_or(Ordering::Less, |(_, b)| load.compare(b));
        // The first of equals, but for one that follows the turn where the first stands before it.
        let is_nearer = |at: usize| at < turn && i >= turn;
        if order.is_lt() || order.is_eq() && best.as_ref().is_some_and(|(at, _)| is_nearer(*at)) {
            best = Some((i, load));
        }
    }
    best.map(|(i, _)| i)
}

/// Sessions for a weight.
struct Load {
    sessions: u64,
    weight: u64,
}

impl Load {
    fn of(member: &Member) -> Self {
        let sessions = u64::try_from(member.node.active()).unwrap_or(u64::MAX);
        Self { sessions, weight: u64::from(member.weight) }
    }

    /// Without dividing.
    fn compare(&self, other: &Self) -> Ordering {
        self.sessions.saturating_mul(other.weight).cmp(&other.sessions.saturating_mul(self.weight))
    }
}

/// Draws two members in proportion to their weights and takes the less loaded one.
fn better_of_two(among: &Among<'_>, ticket: usize) -> Option<usize> {
    let draw = mix(u64::try_from(ticket).unwrap_or(u64::MAX));
    let total = among.weight();
    let (one, m) = among.at_point(scaled(draw, total), None)?;
    let rest = total - u64::from(m.weight);
    let Some((other, n)) = among.at_point(scaled(mix(draw), rest), Some(one)) else { return Some(one) };
    // Of equals the one that was drawn first: its place in the list must not count.
    Some(if Load::of(n).compare(&Load::of(m)).is_lt() { other } else { one })
}

/// A random number as a point below `total`.
fn scaled(draw: u64, total: u64) -> u64 {
    // The upper half of the product is below `total`.
    u64::try_from((u128::from(draw) * u128::from(total)) >> 64).unwrap_or(0)
}

/// The member that a client always gets: the highest of all scores that it has with them (weighted rendezvous hashing, Schindelhauer
/// and Schomaker, 2005). A member that leaves sends its own clients elsewhere and nobody else's.
fn at_home(among: &Among<'_>, source: u64) -> Option<usize> {
    struct Home {
        index: usize,
        share: u64,
        weight: u16,
    }
    let score = |share: u64, weight: u16| {
        // From 0 to 1, both excluded: 2^-54 is added.
        let share = ((share >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(weight) / -share.ln()
    };
    let mut home: Option<Home> = None;
    for (index, m) in among.iter() {
        let (share, weight) = (mix(source ^ m.node.key()), m.weight);
        // The score rises with both, and a logarithm costs more than all the rest.
        if home.as_ref().is_some_and(|home| share <= home.share && weight <= home.weight) {
            continue;
        }
        // Of equal weights the larger share has the larger score.
        if let Some(best) = home.as_mut().filter(|home| home.weight == weight && share > home.share) {
            *best = Home { index, share, weight };
            continue;
        }
        if home.as_ref().is_none_or(|home| score(share, weight) > score(home.share, home.weight)) {
            home = Some(Home { index, share, weight });
        }
    }
    home.map(|home| home.index)
}

/// The order of turns for round-robin: smooth weighted, so that a heavy node's turns are spread and not in a row.
/// Weights are divided by their greatest common divisor, so three equal nodes make three turns.
pub(super) fn schedule(members: &[Member]) -> Vec<u16> {
    let weights: Vec<(u16, u64)> = members
        .iter()
        .enumerate()
        .filter(|(_, m)| m.serves())
        .filter_map(|(i, m)| Some((u16::try_from(i).ok()?, u64::from(m.weight))))
        .collect();
    let divisor = weights.iter().fold(0, |a, &(_, w)| gcd(a, w));
    let weights = weights.into_iter().filter_map(|(i, w)| Some((i, i64::try_from(w.checked_div(divisor)?).ok()?)));
    let mut credit: Vec<(u16, i64, i64)> = weights.map(|(i, w)| (i, w, 0)).collect();
    let total: i64 = credit.iter().map(|(_, w, _)| w).sum();
    let mut turns = Vec::new();
    for _ in 0..total {
        for (_, weight, c) in &mut credit {
            *c += *weight;
        }
        // The first of equals, so that equal nodes take turns in their order.
        let Some((i, _, c)) = credit.iter_mut().reduce(|a, b| if b.2 > a.2 { b } else { a }) else { break };
        *c -= total;
        turns.push(*i);
    }
    turns
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
