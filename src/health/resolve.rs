//! Looking up a node's name, one look-up at a time.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::probe::unreachable;
use crate::galera::observation::{Check, Unreachable};

type Addresses = io::Result<Vec<IpAddr>>;
/// And when they were found.
type LookUp = JoinHandle<(Instant, Addresses)>;

/// An answer that nobody waited for is used for this long: a check that comes hours later asks anew.
const FRESH: Duration = Duration::from_secs(5);

/// Looks one name up by the system's resolver, which blocks, cannot be interrupted, and may take half a minute where
/// its servers are silent. A check that gives up leaves its look-up to the next one: were each to begin its own, a
/// resolver that hangs for one name would soon hold every thread, and every other name with it.
#[derive(Debug)]
pub struct Resolver {
    host: String,
    begun: Mutex<Option<LookUp>>,
}

impl Resolver {
    /// Of one name, or an address, which is not looked up. To be kept as long as the name is: with it goes the
    /// look-up that is under way.
    pub fn new(host: &str) -> Self {
        Self { host: host.to_owned(), begun: Mutex::new(None) }
    }

    /// Every address of the name, in the resolver's order; at least one.
    pub(super) async fn resolve(&self, port: u16) -> Result<Vec<SocketAddr>, Check> {
        let ips = match self.host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => {
                let name = self.host.clone();
                let ask = move || Ok((name.as_str(), 0).to_socket_addrs()?.map(|a| a.ip()).collect());
                self.look_up(ask).await?
            }
        };
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    async fn look_up(&self, ask: impl FnOnce() -> Addresses + Send + 'static) -> Result<Vec<IpAddr>, Check> {
        // A check that is given up lets go of the lock, and what it waited for stays.
        let mut begun = self.begun.lock().await;
        if let Some(left) = begun.as_mut() {
            let found = left.await;
            *begun = None;
            if found.as_ref().is_ok_and(|(at, _)| at.elapsed() <= FRESH) {
                return read(found);
            }
        }
        let look_up = begun.insert(tokio::task::spawn_blocking(move || {
            let addresses = ask();
            (Instant::now(), addresses)
        }));
        let found = look_up.await;
        *begun = None;
        read(found)
    }
}

fn read(found: Result<(Instant, Addresses), JoinError>) -> Result<Vec<IpAddr>, Check> {
    let cannot = |how: String| Err(unreachable(Unreachable::CannotResolve(how)));
    match found {
        Ok((_, Ok(addresses))) if addresses.is_empty() => cannot("no address".to_owned()),
        Ok((_, Ok(addresses))) => Ok(addresses),
        Ok((_, Err(e))) => cannot(e.to_string()),
        Err(e) => Err(Check::NotMade(format!("name resolution was cut off: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_look_up_that_hangs_is_waited_for_by_the_next_check_and_not_repeated() {
        let resolver = Resolver::new("db1.example");
        let begun = Arc::new(AtomicU32::new(0));
        let (answer, answered) = mpsc::channel::<()>();
        let answered = Arc::new(Mutex::new(answered));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let ask = || {
            let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                let _ = answered.lock().unwrap().recv_timeout(Duration::from_secs(30));
                Ok(vec![address])
            }
        };
        for _ in 0..5 {
            let hanging = timeout(Duration::from_millis(20), resolver.look_up(ask())).await;
            assert!(hanging.is_err(), "it hangs");
        }
        answer.send(()).unwrap();
        assert_eq!(resolver.look_up(ask()).await.unwrap(), [address]);
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        answer.send(()).unwrap();
        assert_eq!(resolver.look_up(ask()).await.unwrap(), [address]);
        assert_eq!(begun.load(Ordering::SeqCst), 2, "what was answered is asked anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waited_for_is_used_by_the_next_check_and_not_by_one_of_hours_later() {
        for (later, asked) in [(FRESH / 2, 1), (FRESH * 2, 2)] {
            let resolver = Resolver::new("db1.example");
            let begun = Arc::new(AtomicU32::new(0));
            let (answer, answered) = mpsc::channel::<()>();
            let ask = |answered: Option<mpsc::Receiver<()>>| {
                let begun = Arc::clone(&begun);
                move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let _ = answered.map(|a| a.recv_timeout(Duration::from_secs(30)));
                    Ok(vec![IpAddr::from([192, 0, 2, 1])])
                }
            };
            assert!(timeout(Duration::ZERO, resolver.look_up(ask(Some(answered)))).await.is_err());
            answer.send(()).unwrap();
            while !resolver.begun.lock().await.as_ref().is_some_and(JoinHandle::is_finished) {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(later).await;
            resolver.look_up(ask(None)).await.unwrap();
            assert_eq!(begun.load(Ordering::SeqCst), asked, "{later:?} later");
        }
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let found = Resolver::new("::1").resolve(3307).await.unwrap();
        assert_eq!(found, ["[::1]:3307".parse().unwrap()]);
    }
}
