//! Targets that are given as they are, `connect =`: nobody watches them, so they serve as far as is known.
//!
//! What is known comes from clients: one that failed to connect sends a target to the back until some time has passed. No
//! probe of ours tells sooner: to a MySQL server each would be a broken handshake, which it counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::kept_alive;
use super::lookup::Lookup;
use super::names::AGAIN;
use super::resolve::{literal, resolve};
use crate::config::{Endpoint, NodeSpec, Place, Service};
use crate::galera::observation::Check;
use crate::galera::{AdminState, Departure, Kind, NodeId, Reason, Scope, Verdict};
use crate::pool::{Cause, Member, Node, Pool, PoolCell, Standing, Vacancies};
use crate::telemetry::Seldom;

/// Before a target that failed is tried again, and its name looked up again.
const PAUSE: Duration = Duration::from_secs(1);

/// At most one warning in this time about a name that does not resolve.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// The targets of one service. Dropping it ends the look-ups.
#[derive(Debug)]
pub struct Fixed {
    all: Targets,
    tasks: JoinSet<()>,
}

/// Where a target is; none while its name was not looked up.
type Whereabouts = Option<Arc<[Endpoint]>>;

/// The targets of one service: where the next ones begin.
#[derive(Debug, Clone)]
pub struct Targets(Arc<Inner>);

impl Targets {
    /// None of them is a target any more: whoever is there ends at `until`.
    pub fn drain(&self, until: std::time::Instant) {
        for (node, _) in &self.0.nodes {
            node.switch.drain(until, Cause::Verdict(Reason::Left(Departure::Configuration)));
        }
    }
}

impl std::ops::Deref for Targets {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

#[derive(Debug)]
pub struct Inner {
    service: Arc<str>,
    nodes: Vec<(Arc<Node>, NodeSpec)>,
    places: watch::Sender<Vec<Whereabouts>>,
    /// Names that were asked for.
    asked: watch::Sender<usize>,
    pool: Arc<PoolCell>,
    vacancies: Arc<Vacancies>,
    lookup: Lookup,
}

impl Fixed {
    /// The targets of `service`, in their order; [`Self::start`] begins to look their names up.
    pub fn new(service: &Service, targets: &[Place], lookup: &Lookup) -> Self {
        let vacancies: Arc<Vacancies> = Arc::default();
        let targets = (0..).map(NodeId).zip(targets).map(|(id, place)| (node(id, place, &vacancies), None)).collect();
        let (nodes, places) = placed(targets);
        let pool = Arc::new(PoolCell::new(snapshot(&service.name, &nodes, &places), Arc::clone(&vacancies)));
        Self::with(service, nodes, places, pool, vacancies, lookup)
    }

    /// The targets of the same service by a new configuration. Those that stay are the same nodes, with their sessions and counts,
    /// and lead where they led. In force with [`Self::replace`].
    pub fn successor(old: &Targets, service: &Service, targets: &[Place], lookup: &Lookup) -> Self {
        let mut next = (0..).map(NodeId).skip_while(|id| old.nodes.iter().any(|(node, _)| node.id >= *id));
        let whereabouts = old.places.borrow().clone();
        let known = old.nodes.iter().zip(whereabouts);
        let found = |place: &Place| known.clone().find(|((node, _), _)| node.address.is_same(place));
        let mut all = Vec::new();
        for place in targets {
            match found(place) {
                Some(((node, _), at)) => all.push((Arc::clone(node), at)),
                None => all.extend(next.next().map(|id| (node(id, place, &old.vacancies), None))),
            }
        }
        let (nodes, places) = placed(all);
        Self::with(service, nodes, places, Arc::clone(&old.pool), Arc::clone(&old.vacancies), lookup)
    }

    /// Takes the place of `old`, which [`Self::successor`] was made of. Whoever is on a target that is not among these ends at
    /// `until`; the names of those targets.
    pub fn replace(&mut self, old: &Targets, until: std::time::Instant) -> Vec<Arc<str>> {
        let stays = |node: &Arc<Node>| self.all.nodes.iter().any(|(stays, _)| Arc::ptr_eq(stays, node));
        let gone: Vec<&Arc<Node>> = old.nodes.iter().map(|(node, _)| node).filter(|node| !stays(node)).collect();
        // Published first: whoever is picked just now finds its lease, or the snapshot, changed.
        self.all.publish();
        for node in &gone {
            node.switch.drain(until, Cause::Verdict(Reason::Left(Departure::Configuration)));
        }
        self.start();
        gone.into_iter().map(|node| node.name()).collect()
    }

    /// For the next ones.
    pub fn targets(&self) -> Targets {
        self.all.clone()
    }

    fn with(
        service: &Service,
        nodes: Vec<(Arc<Node>, NodeSpec)>,
        places: Vec<Whereabouts>,
        pool: Arc<PoolCell>,
        vacancies: Arc<Vacancies>,
        lookup: &Lookup,
    ) -> Self {
        let all = Inner {
            service: Arc::clone(&service.name),
            nodes,
            places: watch::Sender::new(places),
            asked: watch::Sender::new(0),
            pool,
            vacancies,
            lookup: lookup.clone(),
        };
        Self { all: Targets(Arc::new(all)), tasks: JoinSet::new() }
    }

    /// Where the service's snapshots are found.
    pub fn pool(&self) -> Arc<PoolCell> {
        Arc::clone(&self.all.pool)
    }

    /// Starts, on the runtime this is called in.
    pub fn start(&mut self) {
        for index in 0..self.all.nodes.len() {
            let all = self.all.clone();
            self.tasks.spawn(kept_alive(move || run(all.clone(), index)));
        }
    }

    /// Waits until one of the targets is known, or every name was asked for once.
    pub async fn first_round(&self) {
        let mut asked = self.all.asked.subscribe();
        // The sender lives as long as we do.
        let known = || self.all.places.borrow().iter().any(Option::is_some);
        let _ = asked.wait_for(|names| known() || *names >= self.all.nodes.len()).await;
    }
}

fn node(id: NodeId, place: &Place, vacancies: &Arc<Vacancies>) -> Arc<Node> {
    Arc::new(Node::new(id, place.to_string().into(), place.clone(), Arc::clone(vacancies)))
}

/// Targets, and where each is: where it was, or by its address.
fn placed(targets: Vec<(Arc<Node>, Whereabouts)>) -> (Vec<(Arc<Node>, NodeSpec)>, Vec<Whereabouts>) {
    let placed = |(node, at): (Arc<Node>, Whereabouts)| {
        let spec = NodeSpec::new(node.address.clone());
        let at = at.or_else(|| literal(&node.address).map(|found| Arc::from([found])));
        ((node, spec), at)
    };
    targets.into_iter().map(placed).unzip()
}

/// Keeps one target for as long as the process lives.
async fn run(all: Targets, index: usize) {
    let Some((node, spec)) = all.nodes.get(index) else { return };
    let is_name = literal(&spec.address).is_none();
    let mut warning = Seldom::new(WARNING_EVERY);
    let mut first = true;
    loop {
        let begun = Instant::now();
        if is_name {
            match resolve(&spec.address, None, &all.lookup).await {
                Ok(found) => all.found(index, found.into()),
                Err(why) if warning.due(Instant::now().into_std()) => {
                    let why = match why {
                        Check::NotMade(why) => why,
                        other => super::seen::error_of(&other).unwrap_or_default(),
                    };
                    let rest = unresolved(all.is_known(index));
                    tracing::warn!(service = %all.service, target = %spec.address, why, "a target's name does not resolve: {rest}");
                }
                Err(_) => {}
            }
        }
        if std::mem::take(&mut first) {
            all.asked.send_modify(|names| *names += 1);
        }
        let pause = if all.is_known(index) { AGAIN } else { PAUSE };
        tokio::select! {
            () = sleep_until(begun + pause) => {}
            () = node.look.notified() => {
                sleep(PAUSE).await;
                // Whoever waits for a target hears that it may be tried again.
                if node.clear_suspect() {
                    all.publish();
                }
            }
        }
        if node.is_suspect() {
            // It failed too often for one pause.
            node.look.notify_one();
        }
    }
}

/// What becomes of a target whose name does not resolve (any more).
fn unresolved(known: bool) -> &'static str {
    if known { "where it led last stays" } else { "nobody is sent there until it does" }
}

impl Inner {
    /// Whether it is known where the target is.
    fn is_known(&self, index: usize) -> bool {
        self.places.borrow().get(index).is_some_and(Option::is_some)
    }

    fn found(&self, index: usize, addresses: Arc<[Endpoint]>) {
        let changed = self.places.send_if_modified(|places| match places.get_mut(index) {
            Some(place) if place.as_ref() != Some(&addresses) => {
                *place = Some(addresses);
                true
            }
            _ => false,
        });
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        self.pool.publish(snapshot(&self.service, &self.nodes, &self.places.borrow()));
    }
}

fn snapshot(service: &Arc<str>, nodes: &[(Arc<Node>, NodeSpec)], places: &[Whereabouts]) -> Pool {
    let member = |(node, spec): &(Arc<Node>, NodeSpec), place: &Whereabouts| Member {
        node: Arc::clone(node),
        addresses: place.clone().unwrap_or_default(),
        weight: spec.weight,
        full_weight: spec.weight,
        priority: spec.priority,
        zone: Arc::clone(&spec.zone),
        backup: false,
        max_connections: None,
        admin: AdminState::Ready,
        verdict: Verdict { kind: Kind::Eligible, reason: Reason::Given, scope: Scope::All, room: true, slow: None },
    };
    Pool::new(
        Arc::clone(service),
        nodes.iter().zip(places).map(|(n, place)| member(n, place)).collect(),
        Standing::unknown(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;
    use crate::pool::{Ask, Tried, Wanted, pick};
    use crate::{config::Balance, config::ReaderRule, config::Role};

    fn fixed(targets: &[&str]) -> Fixed {
        let places: Vec<Place> = targets.iter().map(|t| Place::Host(t.parse().unwrap())).collect();
        let service = Service::new("s", Vec::new(), Target::Fixed(places.clone()));
        Fixed::new(&service, &places, &Lookup::system())
    }

    fn first(pool: &Pool) -> Option<usize> {
        let wanted = Wanted { role: Role::Any, includes_writer: ReaderRule::Always };
        pick(pool, &Ask { wanted, balance: Balance::First, zone: None, ticket: 0, source: 0 }, &Tried::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_failed_comes_last_and_is_tried_again_after_a_while() {
        let mut fixed = fixed(&["127.0.0.1:1", "127.0.0.1:2"]);
        fixed.start();
        fixed.first_round().await;
        let pool = fixed.pool();
        assert_eq!(first(&pool.load()), Some(0));
        pool.load().members[0].node.count_failed(None);
        assert_eq!(first(&pool.load()), Some(1));
        let mut news = pool.subscribe();
        tokio::time::timeout(PAUSE * 2, news.changed()).await.unwrap().unwrap();
        assert_eq!(first(&pool.load()), Some(0), "whoever waits hears of it");
    }

    #[tokio::test]
    async fn what_is_said_of_a_name_that_does_not_resolve_is_true() {
        let fixed = fixed(&["nowhere.invalid:1"]);
        assert_eq!(unresolved(fixed.all.is_known(0)), "nobody is sent there until it does");
        fixed.all.found(0, Arc::from([literal(&"127.0.0.1:1".parse().map(Place::Host).unwrap()).unwrap()]));
        assert_eq!(unresolved(fixed.all.is_known(0)), "where it led last stays");
    }

    #[tokio::test]
    async fn a_name_is_a_target_once_it_was_looked_up() {
        let mut fixed = fixed(&["localhost:1"]);
        assert_eq!(first(&fixed.pool().load()), None);
        fixed.start();
        tokio::time::timeout(Duration::from_secs(10), fixed.first_round()).await.unwrap();
        assert_eq!(first(&fixed.pool().load()), Some(0));
    }
}
