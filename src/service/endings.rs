//! What ends sessions of a service apart from their node: the service is gone from the configuration, or the address that the
//! client connected to has left this host.
//!
//! It is stored first, and then the switch of every node is nudged, which wakes the node's sessions to look here again. So an
//! idle session waits for one thing only, and one that begins just after finds what is stored.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Service;
use crate::net::Stream;
use crate::pool::{Cause, Order};
use crate::telemetry::Rejection;

/// Lost addresses that are remembered. Those who came in on one end at once; only who was still on the way finds it here.
const REMEMBERED: usize = 64;

/// Of one service.
#[derive(Debug)]
pub(super) struct Endings {
    told: watch::Sender<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The sessions that are left then end.
    retired: Option<Instant>,
    /// Addresses, and when each was found to be gone. The last one is the newest.
    lost: Vec<(IpAddr, Instant)>,
    /// Who has its clients now, by other settings or another name. Weak: that one holds these endings.
    next: Weak<Service>,
}

/// What becomes of a client that waits for a node.
pub(super) enum Away {
    /// It waits in vain.
    Rejected(Rejection),
    /// Another service has it now.
    To(Arc<Service>),
}

impl Told {
    /// The address, where who came in on it at that time has lost it. Who came later came over an address that works, whatever
    /// this host's interfaces say (transparent proxying, routes of the type `local`).
    fn lost_one(&self, local: impl FnOnce() -> Option<IpAddr>, accepted: Instant) -> Option<IpAddr> {
        if self.lost.is_empty() {
            // What asks is a system call.
            return None;
        }
        let local = local()?;
        self.lost.iter().any(|(ip, at)| *ip == local && accepted <= *at).then_some(local)
    }

    /// Why a client need not wait for a node of `service`.
    fn in_vain(&self, service: &Service, stream: &Stream, accepted: tokio::time::Instant) -> Option<Away> {
        if self.lost_one(|| local_ip(stream), accepted.into()).is_some() {
            return Some(Away::Rejected(Rejection::AddressLost));
        }
        // By other limits or times it waits for the same.
        let elsewhere =
            |next: &Arc<Service>| !Arc::ptr_eq(&next.pool, &service.pool) || !Arc::ptr_eq(&next.house, &service.house);
        match self.next.upgrade().filter(elsewhere) {
            Some(next) => Some(Away::To(next)),
            None => self.retired.map(|_| Away::Rejected(Rejection::Retired)),
        }
    }
}

impl Default for Endings {
    fn default() -> Self {
        Self { told: watch::Sender::new(Told::default()) }
    }
}

impl Endings {
    /// What holds now for a session that was accepted at this time. `local`: the address of ours that its client connected to.
    pub(super) fn order(&self, local: impl FnOnce() -> Option<IpAddr>, accepted: Instant) -> Order {
        let told = self.told.borrow();
        match (told.lost_one(local, accepted), told.retired) {
            (Some(ip), _) => Order::End(Cause::AddressLost(ip), Duration::ZERO),
            (None, Some(until)) => Order::EndAt(until, Cause::Retired),
            (None, None) => Order::Live,
        }
    }

    /// Resolves once a client that has no node yet need not wait for one.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold its arguments twice over, for every client that waits"
    )]
    pub(super) fn turn_away<'a>(
        &'a self,
        service: &'a Service,
        stream: &'a Stream,
        accepted: &'a tokio::time::Instant,
    ) -> impl Future<Output = Away> + 'a {
        async move {
            let mut told = self.told.subscribe();
            loop {
                if let Some(why) = told.borrow_and_update().in_vain(service, stream, *accepted) {
                    return why;
                }
                if told.changed().await.is_err() {
                    // The sender lives as long as the service.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    fn retire(&self, until: Instant) {
        self.told.send_modify(|told| told.retired = Some(told.retired.map_or(until, |before| before.min(until))));
    }

    fn follow(&self, next: &Arc<Service>) {
        self.told.send_modify(|told| told.next = Arc::downgrade(next));
    }

    fn lose(&self, ip: IpAddr, at: Instant) {
        self.told.send_modify(|told| {
            told.lost.retain(|(known, _)| *known != ip);
            told.lost.push((ip, at));
            if told.lost.len() > REMEMBERED {
                told.lost.remove(0);
            }
        });
    }
}

/// The address of ours that a client connected to, an IPv4 one as such also where it came over an IPv6 socket.
pub(super) fn local_ip(stream: &Stream) -> Option<IpAddr> {
    stream.tcp().and_then(|tcp| tcp.local_addr().ok()).map(|at| at.ip().to_canonical())
}

impl Service {
    /// Clients that still wait for a node wait for one of `next` from now on: a service of the same name by other settings, or one
    /// that has taken over a socket of this one's.
    pub fn followed_by(&self, next: &Arc<Self>) {
        self.house.endings.follow(next);
    }

    /// The service is gone from the configuration: who still waits for a node is turned away now, and the sessions that are
    /// left at `until` end then, as after a drain. Of two calls the earlier time holds. It does not stop the listeners.
    pub fn retire(&self, until: Instant) {
        self.tell(|endings| endings.retire(until));
    }

    /// `ip` was found at `at` to be on no interface of this host any more: who came in on it until then is connected to
    /// another host now, or to none, and ends. An IPv4 address is given as such.
    pub fn address_lost(&self, ip: IpAddr, at: Instant) {
        self.tell(|endings| endings.lose(ip, at));
    }

    fn tell(&self, what: impl Fn(&Endings)) {
        for service in self.with_detours() {
            what(&service.house.endings);
            for member in &service.pool.load().members {
                member.node.switch.nudge();
            }
        }
    }

    /// Itself and the services that its clients may be sent on to, and those of theirs.
    fn with_detours(&self) -> Vec<&Self> {
        let detours = self.detours.get();
        let named = detours.iter().flat_map(|d| d.by_name.iter().map(|(_, service)| service));
        let refused = detours.iter().filter_map(|d| d.refused.as_ref());
        let mut all = vec![self];
        for service in named.chain(refused).map(Arc::as_ref) {
            all.extend(service.with_detours());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::net::{End, Peer};
    use crate::pool::{Member, Node, NodeId, Pool, PoolCell, Standing, Verdict};
    use crate::service::close::Fate;
    use crate::service::record::Record;
    use crate::service::search::search;
    use crate::service::session::fate;
    use crate::service::tunnel::Line;
    use crate::service::welcome::Client;
    use crate::service::{Detours, Extras};
    use crate::telemetry::{Registry, ServiceMetrics};
    use std::pin::pin;
    use tokio::time::timeout;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SOON: Duration = Duration::from_secs(20);
    const MOMENT: Duration = Duration::from_millis(50);

    /// A service and its one node, which was not checked yet.
    fn service() -> (Arc<Service>, Arc<Node>) {
        let text = "[service.s]\naccept = \"127.0.0.1:0\"\nconnect = \"127.0.0.1:1\"\nprotocol = \"mysql\"\n";
        let config = config::parse(text, std::path::Path::new("t.toml")).unwrap().config;
        let address = config::Place::Host("db1".parse().unwrap());
        let node = Arc::new(Node::new(NodeId(0), "db1".into(), address, Arc::default()));
        let member = Member {
            node: Arc::clone(&node),
            addresses: Arc::default(),
            weight: 1,
            full_weight: 1,
            priority: 0,
            zone: "".into(),
            backup: false,
            max_connections: None,
            admin: crate::pool::AdminState::Ready,
            verdict: Verdict::unknown(),
        };
        let pool = Arc::new(PoolCell::new(Pool::new("c".into(), vec![member], Standing::unknown()), Arc::default()));
        let metrics = Arc::new(ServiceMetrics::new(&Registry::new(), "s".into()));
        let (stop, stopping) = watch::channel(false);
        // Dropped, it would count as a stop.
        std::mem::forget(stop);
        let settings = Arc::clone(&config.services[0]);
        (Arc::new(Service::new(settings, pool, metrics, stopping, Extras::default())), node)
    }

    /// The fate of a session whose relay goes on for ever.
    async fn fate_of(service: &Arc<Service>, node: &Node, on: IpAddr, at: Instant) -> Fate {
        let mut lease = node.switch.lease(false);
        let relay = pin!(std::future::pending::<End>());
        let peer = Peer::Tcp(std::net::SocketAddr::new(HERE, 1));
        let record = Record::new(Arc::clone(service), Client::new(peer), at.into());
        fate(relay, |_| Some(on), &mut lease, &record, None).await
    }

    /// Polls both, what happens after the session has begun to wait.
    async fn meanwhile<T>(session: impl Future<Output = T>, happens: impl FnOnce()) -> Option<T> {
        let later = async {
            tokio::time::sleep(MOMENT).await;
            happens();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            it = timeout(SOON, session) => it.ok(),
            () = later => None,
        }
    }

    #[tokio::test]
    async fn sessions_of_a_retired_service_end_at_its_time_and_not_before() {
        let (service, node) = service();
        let begun = Instant::now();
        let end = begun + 4 * MOMENT;
        let fate = meanwhile(fate_of(&service, &node, HERE, begun), || {
            service.retire(end);
            service.retire(end + SOON);
        });
        assert!(matches!(fate.await, Some(Fate::Drained(Cause::Retired))));
        assert!(Instant::now() >= end);
        // One that was on its way when it was said.
        assert!(matches!(fate_of(&service, &node, HERE, begun).await, Fate::Drained(Cause::Retired)));
    }

    #[tokio::test]
    async fn a_lost_address_ends_whoever_came_in_on_it_before_and_nobody_else() {
        let (service, node) = service();
        let before = Instant::now();
        let fate = meanwhile(fate_of(&service, &node, HERE, before), || service.address_lost(HERE, Instant::now()));
        assert!(matches!(fate.await, Some(Fate::Killed(Cause::AddressLost(HERE)))));
        assert!(matches!(fate_of(&service, &node, HERE, before).await, Fate::Killed(Cause::AddressLost(HERE))));
        for (on, at) in [(ELSEWHERE, before), (HERE, Instant::now())] {
            let fate = timeout(4 * MOMENT, fate_of(&service, &node, on, at)).await;
            assert!(fate.is_err(), "{on} ended");
        }
    }

    #[tokio::test]
    async fn the_nodes_own_order_comes_first_where_it_is_earlier() {
        let (service, node) = service();
        service.retire(Instant::now() + SOON);
        node.switch.drain(Instant::now() + MOMENT, Cause::Shutdown);
        let fate = timeout(SOON, fate_of(&service, &node, HERE, Instant::now())).await;
        assert!(matches!(fate, Ok(Fate::Drained(Cause::Shutdown))));
    }

    #[tokio::test]
    async fn where_clients_are_sent_on_they_end_with_the_service_that_took_them_in() {
        let ((service, _), (behind, node)) = (self::service(), self::service());
        service.set_detours(Detours { by_name: vec![("x".into(), Arc::clone(&behind))], refused: None });
        let fate = meanwhile(fate_of(&behind, &node, HERE, Instant::now()), || service.retire(Instant::now()));
        assert!(matches!(fate.await, Some(Fate::Drained(Cause::Retired))));
    }

    #[tokio::test]
    async fn who_waits_for_a_node_is_turned_away_where_it_waits_in_vain() {
        type Event = fn(&Service);
        let events: [(Event, Option<Rejection>); 3] = [
            (|s| s.retire(Instant::now() + SOON), Some(Rejection::Retired)),
            (|s| s.address_lost(HERE, Instant::now()), Some(Rejection::AddressLost)),
            (|s| s.address_lost(ELSEWHERE, Instant::now()), None),
        ];
        for (event, expected) in events {
            let (service, _) = service();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let stream = Stream::from(listener.accept().await.unwrap().0);
            let who = Client::new(Peer::Tcp(client.local_addr().unwrap()));
            let settings = Arc::clone(&service.settings);
            let now = tokio::time::Instant::now();
            let waiting = search(&service, &settings, &stream, &who, 0, now, Line::default());
            let waiting = meanwhile(timeout(8 * MOMENT, waiting), || event(&service)).await.unwrap();
            assert_eq!(waiting.ok().and_then(|found| found.err().map(|nothing| nothing.rejection)), expected);
        }
    }

    #[test]
    fn many_lost_addresses_are_not_remembered_for_ever() {
        let (service, _) = service();
        let at = Instant::now();
        for n in 0..=u32::try_from(REMEMBERED).unwrap() {
            service.address_lost(IpAddr::V4(n.into()), at);
            service.address_lost(IpAddr::V4(n.into()), at);
        }
        let told = service.house.endings.told.borrow();
        assert_eq!(told.lost.len(), REMEMBERED);
        let lost = |n: u32| told.lost_one(|| Some(IpAddr::V4(n.into())), at).is_some();
        assert!(!lost(0) && lost(1));
    }
}
