//! Picking one node of a snapshot. Pure: the same snapshot, counters and ticket give the same node.

use super::snapshot::{Member, Pool, Wanted};
use crate::config::Balance;

/// Members of one snapshot that were tried already.
#[derive(Debug, Default, Clone)]
pub struct Tried(Vec<usize>);

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

/// Picks a member that is wanted, serves and was not tried. `ticket` is the connection's number at the service.
///
/// A node without room comes after every node with room; among those the writer that is a reader's last resort comes after
/// the readers, a slow node after one that is not, and a suspect one last: it is still picked where nothing better is left, since a node that fails some clients beats none.
pub fn pick(pool: &Pool, wanted: Wanted, balance: Balance, ticket: usize, tried: &Tried) -> Option<usize> {
    let rank = |i: usize, member: &Member| rank(member) + 4 * u8::from(pool.is_last_resort(i, wanted));
    let candidates = || pool.members.iter().enumerate().filter(|(i, _)| pool.fits(*i, wanted) && !tried.contains(*i));
    let best = candidates().map(|(i, m)| rank(i, m)).min()?;
    match balance {
        Balance::RoundRobin => {
            let best_is = |i: usize| pool.members.get(i).is_some_and(|m| rank(i, m) == best);
            let fits = |i: usize| !tried.contains(i) && pool.fits(i, wanted) && best_is(i);
            let mine = usize::from(*pool.turns.get(ticket.checked_rem(pool.turns.len())?)?);
            if fits(mine) {
                return Some(mine);
            }
            // The turns of a node that is passed over go round among the others, by their weights: its successor alone
            // would get double its share just when one node less carries the load.
            let others = || pool.turns.iter().map(|&i| usize::from(i)).filter(|&i| fits(i));
            let round = ticket.checked_div(pool.turns.len())?;
            others().nth(round.checked_rem(others().count())?)
        }
        Balance::LeastConnections => {
            let fits = candidates().filter(|(i, m)| rank(*i, m) == best).count();
            // Ties go round: each ticket looks from another member on.
            let start = ticket.checked_rem(fits)?;
            let mut chosen: Option<(usize, usize, u16)> = None;
            let wheel = candidates().filter(|(i, m)| rank(*i, m) == best);
            for (i, m) in wheel.clone().skip(start).chain(wheel.take(start)) {
                let load = m.node.active() + 1;
                // load / weight compared without dividing.
                let better = chosen.is_none_or(|(_, least, weight)| {
                    load.saturating_mul(usize::from(weight)) < least.saturating_mul(usize::from(m.weight))
                });
                if better {
                    chosen = Some((i, load, m.weight));
                }
            }
            chosen.map(|(i, ..)| i)
        }
    }
}

/// Lower is better.
fn rank(member: &Member) -> u8 {
    let verdict = &member.verdict;
    u8::from(!verdict.room) * 8 + u8::from(verdict.slow.is_some()) * 2 + u8::from(member.node.is_suspect())
}

/// The order of turns for round-robin: smooth weighted, so that a heavy node's turns are spread and not in a row.
/// Weights are divided by their greatest common divisor, so three equal nodes make three turns.
pub(super) fn schedule(members: &[Member]) -> Vec<u16> {
    let weights: Vec<(u16, i64)> = members
        .iter()
        .enumerate()
        .filter(|(_, m)| m.serves())
        .filter_map(|(i, m)| Some((u16::try_from(i).ok()?, i64::from(m.weight))))
        .collect();
    let divisor = weights.iter().fold(0, |a, &(_, w)| gcd(a, w));
    let Some(total) = weights.iter().map(|&(_, w)| w).sum::<i64>().checked_div(divisor) else { return Vec::new() };
    let mut credit: Vec<(u16, i64, i64)> = weights.into_iter().map(|(i, w)| (i, w / divisor, 0)).collect();
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

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
