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
use crate::galera::{AdminState, Kind, NodeId, Reason, Verdict};
use crate::pool::{Member, Node, Pool, PoolCell, Standing, Vacancies};
use crate::telemetry::Seldom;

/// Before a target that failed is tried again, and its name looked up again.
const PAUSE: Duration = Duration::from_secs(1);

/// At most one warning in this time about a name that does not resolve.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// The targets of one service. Dropping it ends the look-ups.
#[derive(Debug)]
pub struct Fixed {
    all: Arc<Targets>,
    tasks: JoinSet<()>,
}

/// Where a target is; none while its name was not looked up.
type Whereabouts = Option<Arc<[Endpoint]>>;

#[derive(Debug)]
struct Targets {
    service: Arc<str>,
    nodes: Vec<(Arc<Node>, NodeSpec)>,
    places: watch::Sender<Vec<Whereabouts>>,
    /// Names that were asked for.
    asked: watch::Sender<usize>,
    pool: Arc<PoolCell>,
    lookup: Lookup,
}

impl Fixed {
    /// The targets of `service`, in their order; [`Self::start`] begins to look their names up.
    pub fn new(service: &Service, targets: &[Place], lookup: &Lookup) -> Self {
        let vacancies: Arc<Vacancies> = Arc::default();
        let nodes: Vec<_> = (0..)
            .map(NodeId)
            .zip(targets)
            .map(|(id, place)| {
                let spec = NodeSpec::new(place.clone());
                let name = place.to_string().into();
                (Arc::new(Node::new(id, name, place.clone(), Arc::clone(&vacancies))), spec)
            })
            .collect();
        let places: Vec<Whereabouts> =
            targets.iter().map(|place| literal(place).map(|found| Arc::from([found]))).collect();
        let pool = Arc::new(PoolCell::new(snapshot(&service.name, &nodes, &places), vacancies));
        let service = Arc::clone(&service.name);
        let all = Targets {
            service,
            nodes,
            places: watch::Sender::new(places),
            asked: watch::Sender::new(0),
            pool,
            lookup: lookup.clone(),
        };
        Self { all: Arc::new(all), tasks: JoinSet::new() }
    }

    /// Where the service's snapshots are found.
    pub fn pool(&self) -> Arc<PoolCell> {
        Arc::clone(&self.all.pool)
    }

    /// Starts, on the runtime this is called in.
    pub fn start(&mut self) {
        for index in 0..self.all.nodes.len() {
            let all = Arc::clone(&self.all);
            self.tasks.spawn(kept_alive(move || run(Arc::clone(&all), index)));
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

/// Keeps one target for as long as the process lives.
async fn run(all: Arc<Targets>, index: usize) {
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

impl Targets {
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
        reads_only: false,
        max_connections: None,
        admin: AdminState::Ready,
        verdict: Verdict { kind: Kind::Eligible, reason: Reason::Given, room: true, slow: None },
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
        pool.load().members[0].node.count_failed();
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
