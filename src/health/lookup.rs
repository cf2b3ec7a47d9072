//! Host names to addresses: by the system's resolver, or by the nameservers that the configuration names.
//!
//! ```text
//!  addresses("db1") ─┐                        ┌─► getaddrinfo, on a blocking thread
//!  addresses("db1") ─┼─► one flight a name ───┤
//!  a check's wait ───┘                        └─► servers.rs: /etc/hosts, then DNS
//! ```
//!
//! A look-up goes on when those who wait for it give up: the system's cannot be interrupted and takes half a minute where
//! its servers are silent. Were each who asks to begin one of his own, a resolver that hangs for one name would soon
//! hold every thread, and every other name with it. So a name has one look-up under way at most, whoever asks meanwhile
//! waits for it with the others, and an answer that comes when nobody waits any more is kept for who asks next.
//!
//! Nothing else is kept. What an address was a second ago is no answer to who asks whether it has changed.

mod servers;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::net::is_local_shortage;
use servers::Servers;

/// An answer that nobody waited for is used for this long: a check that comes hours later asks anew.
const FRESH: Duration = Duration::from_secs(5);

/// How long the system's resolver is waited for: by default it gives each of up to three silent servers 5 s.
const SYSTEM_PATIENCE: Duration = Duration::from_secs(15);

/// What the standard library and its like put before the system's own words.
const PREFIX: &str = "failed to lookup address information: ";

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

type Answer = Result<Vec<IpAddr>, LookupError>;

/// Why a name has no addresses now. The words follow "cannot resolve NAME: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Who knows says that there is no such name.
    #[error("no such name")]
    NoSuchName,
    /// The name is there, and has neither an IPv4 nor an IPv6 address.
    #[error("no address")]
    NoAddress,
    /// Nobody said whether there is one: the resolver is silent, or fails. It tells nothing of the name.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// This host or process lacked what it takes to ask. It tells nothing of the name either.
    #[error("not asked: {0}")]
    NotMade(String),
}

/// Looks host names up. Clones share what is under way: one for all clusters.
#[derive(Debug, Clone)]
pub struct Lookup {
    way: Way,
    flights: Arc<Flights>,
}

#[derive(Debug, Clone)]
enum Way {
    System,
    Servers(Arc<Servers>),
}

impl Lookup {
    /// By the system's resolver: whatever nsswitch.conf(5) names.
    ///
    /// It is waited for at most 15 s. Where it finds addresses of one family and fails for the other, it is the system
    /// that decides whether this is an answer.
    pub fn system() -> Self {
        Self { way: Way::System, flights: Arc::default() }
    }

    /// By /etc/hosts, and for what does not stand there by these nameservers, with the search list, `ndots` and `no-aaaa`
    /// of /etc/resolv.conf; both files are read anew for each look-up. Without nameservers the same as
    /// [`Self::system`].
    ///
    /// A look-up takes at most 5 s. The nameservers share them: one that is silent, refuses or fails is followed by the
    /// next, and the one that answered is asked first from then on.
    pub fn with(nameservers: &[SocketAddr]) -> Self {
        Self::with_files(nameservers, Path::new(HOSTS), Path::new(RESOLV_CONF))
    }

    /// As [`Self::with`], with these files in place of the system's.
    pub fn with_files(nameservers: &[SocketAddr], hosts: &Path, resolv_conf: &Path) -> Self {
        let way = match nameservers {
            [] => Way::System,
            some => Way::Servers(Arc::new(Servers::new(some, hosts, resolv_conf))),
        };
        Self { way, flights: Arc::default() }
    }

    /// All addresses of a name, IPv4 and IPv6, at least one, sorted and each once. An address is given back as it is.
    ///
    /// It is all of them or none: by nameservers, that one family has addresses and the other one fails is no answer.
    /// To be called within a runtime with time and I/O. It may be dropped; the look-up ends by itself.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut found = self.in_order(host).await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The same in the order in which they are to be tried.
    pub(super) async fn in_order(&self, host: &str) -> Answer {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        let name = host.to_owned();
        match &self.way {
            Way::System => {
                let ask = |landing: Landing| {
                    tokio::task::spawn_blocking(move || landing.land(system(&name)));
                };
                let answer = timeout(SYSTEM_PATIENCE, self.flights.answer(host, ask)).await;
                answer.unwrap_or_else(|_| Err(LookupError::NoAnswer("timed out".to_owned())))
            }
            Way::Servers(servers) => {
                let servers = Arc::clone(servers);
                let ask = |landing: Landing| {
                    tokio::spawn(async move { landing.land(servers.ask(&name).await) });
                };
                self.flights.answer(host, ask).await
            }
        }
    }
}

/// A look-up under way, or what it brought when nobody waited, and when.
type Flight = watch::Sender<Option<(Instant, Answer)>>;

/// By name.
#[derive(Debug, Default)]
struct Flights(Mutex<HashMap<Box<str>, Arc<Flight>>>);

impl Flights {
    /// The answer of the look-up that is under way, or else of the one that `depart` begins.
    async fn answer(self: &Arc<Self>, host: &str, depart: impl FnOnce(Landing)) -> Answer {
        let (mut landed, departing) = match self.board(host) {
            Boarded::Landed(answer) => return answer,
            Boarded::UnderWay(landed) => (landed, None),
            Boarded::Departing(landed, landing) => (landed, Some(landing)),
        };
        departing.map(depart);
        // It lands whatever happens, and no other value is ever set.
        let landed = landed.wait_for(Option::is_some).await;
        landed.ok().as_deref().and_then(Option::as_ref).map_or_else(|| Err(cut_off()), |(_, answer)| answer.clone())
    }

    fn board(self: &Arc<Self>, host: &str) -> Boarded {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(host) {
            let landed = flight.borrow().clone();
            match landed {
                None => return Boarded::UnderWay(flight.subscribe()),
                Some((at, answer)) => {
                    flights.remove(host);
                    if at.elapsed() <= FRESH {
                        return Boarded::Landed(answer);
                    }
                }
            }
        }
        // Names that nobody asked for again.
        flights.retain(|_, flight| flight.borrow().as_ref().is_none_or(|(at, _)| at.elapsed() <= FRESH));
        let (flight, landed) = watch::channel(None);
        let flight = Arc::new(flight);
        flights.insert(host.into(), Arc::clone(&flight));
        Boarded::Departing(landed, Landing { flights: Arc::clone(self), host: host.into(), flight, answer: None })
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Boarded {
    Landed(Answer),
    UnderWay(watch::Receiver<Option<(Instant, Answer)>>),
    Departing(watch::Receiver<Option<(Instant, Answer)>>, Landing),
}

/// The end of a look-up. Dropped without an answer, by a runtime that ends, it says so: a flight that never lands would
/// keep its name for ever.
#[derive(Debug)]
struct Landing {
    flights: Arc<Flights>,
    host: Box<str>,
    flight: Arc<Flight>,
    answer: Option<Answer>,
}

impl Landing {
    fn land(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| Err(cut_off()));
        // Under the lock: nobody boards between the count and the landing.
        let mut flights = self.flights.flights();
        if self.flight.receiver_count() > 0 {
            flights.remove(&self.host);
        }
        self.flight.send_replace(Some((Instant::now(), answer)));
    }
}

fn cut_off() -> LookupError {
    LookupError::NotMade("the look-up was cut off".to_owned())
}

/// getaddrinfo(3). It blocks.
fn system(host: &str) -> Answer {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let mut found = Vec::new();
    for one in dns_lookup::getaddrinfo(Some(host), None, Some(hints)).map_err(system_error)? {
        let ip = one.map_err(|e| LookupError::NoAnswer(e.to_string()))?.sockaddr.ip();
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    if found.is_empty() { Err(LookupError::NoAddress) } else { Ok(found) }
}

fn system_error(e: dns_lookup::LookupError) -> LookupError {
    let kind = e.kind();
    let e = io::Error::from(e);
    let said = e.to_string();
    let said = said.strip_prefix(PREFIX).unwrap_or(&said).to_owned();
    match kind {
        LookupErrorKind::NoName => LookupError::NoSuchName,
        LookupErrorKind::NoData => LookupError::NoAddress,
        LookupErrorKind::Memory => LookupError::NotMade(said),
        _ if is_local_shortage(&e) => LookupError::NotMade(said),
        _ => LookupError::NoAnswer(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn nobody_departs(_: Landing) {
        panic!("a second look-up of one name");
    }

    /// Waits, and gives up.
    async fn give_up(flights: &Arc<Flights>, host: &str, depart: impl FnOnce(Landing)) {
        let waited = timeout(Duration::from_millis(20), flights.answer(host, depart)).await;
        assert!(waited.is_err(), "it hangs");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_hangs_is_waited_for_by_the_next_check_and_not_repeated() {
        let flights = Arc::new(Flights::default());
        let mut hanging = None;
        give_up(&flights, "db1", |landing| hanging = Some(landing)).await;
        for _ in 0..5 {
            give_up(&flights, "db1", nobody_departs).await;
        }
        let waiting =
            tokio::join!(flights.answer("db1", nobody_departs), flights.answer("db1", nobody_departs), async {
                hanging.unwrap().land(Ok(vec![ADDRESS]));
            });
        assert_eq!((waiting.0, waiting.1), (Ok(vec![ADDRESS]), Ok(vec![ADDRESS])));
        let asked_anew = flights.answer("db1", |landing| landing.land(Err(LookupError::NoSuchName))).await;
        assert_eq!(asked_anew, Err(LookupError::NoSuchName), "what was answered is asked anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waited_for_is_used_by_the_next_check_and_not_by_one_of_hours_later() {
        for (later, used) in [(FRESH / 2, true), (FRESH * 2, false)] {
            let flights = Arc::new(Flights::default());
            let mut late = None;
            give_up(&flights, "db1", |landing| late = Some(landing)).await;
            late.unwrap().land(Ok(vec![ADDRESS]));
            tokio::time::advance(later).await;
            let anew = |landing: Landing| landing.land(Err(LookupError::NoSuchName));
            let expected = if used { Ok(vec![ADDRESS]) } else { Err(LookupError::NoSuchName) };
            assert_eq!(flights.answer("db1", anew).await, expected, "{later:?} later");
            assert_eq!(flights.answer("db1", anew).await, Err(LookupError::NoSuchName), "once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_holds_no_other_up() {
        let flights = Arc::new(Flights::default());
        let mut hanging = None;
        give_up(&flights, "db1", |landing| hanging = Some(landing)).await;
        let other = flights.answer("db2", |landing| landing.land(Ok(vec![ADDRESS]))).await;
        assert_eq!(other, Ok(vec![ADDRESS]));
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_nobody_asks_for_again_are_forgotten() {
        let flights = Arc::new(Flights::default());
        for i in 0..100 {
            let mut late = None;
            give_up(&flights, &format!("db{i}"), |landing| late = Some(landing)).await;
            late.unwrap().land(Ok(vec![ADDRESS]));
        }
        tokio::time::advance(FRESH * 2).await;
        let _ = flights.answer("db", |landing| landing.land(Ok(vec![ADDRESS]))).await;
        assert_eq!(flights.flights().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_is_cut_off_says_so_and_the_next_one_is_begun() {
        let flights = Arc::new(Flights::default());
        let cut = flights.answer("db1", drop).await;
        assert!(matches!(cut, Err(LookupError::NotMade(_))), "{cut:?}");
        assert_eq!(flights.answer("db1", |landing| landing.land(Ok(vec![ADDRESS]))).await, Ok(vec![ADDRESS]));
    }

    #[tokio::test]
    async fn an_address_is_given_back_without_a_question() {
        for lookup in [Lookup::system(), Lookup::with(&["192.0.2.1:53".parse().unwrap()])] {
            for address in ["192.0.2.7", "2001:db8::7", "::1"] {
                assert_eq!(lookup.addresses(address).await, Ok(vec![address.parse().unwrap()]));
            }
        }
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let found = Lookup::system().addresses("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback) && found.is_sorted(), "{found:?}");
    }

    #[test]
    fn what_the_system_says_of_a_name_is_told_from_what_it_could_not_find_out() {
        let said = |code| system_error(dns_lookup::LookupError::new(code)).to_string();
        assert_eq!(said(libc::EAI_NONAME), "no such name");
        assert_eq!(said(libc::EAI_NODATA), "no address");
        assert!(said(libc::EAI_AGAIN).starts_with("no answer: "), "{}", said(libc::EAI_AGAIN));
        assert!(!said(libc::EAI_AGAIN).contains(PREFIX), "{}", said(libc::EAI_AGAIN));
        assert!(said(libc::EAI_MEMORY).starts_with("not asked: "), "{}", said(libc::EAI_MEMORY));
    }
}
