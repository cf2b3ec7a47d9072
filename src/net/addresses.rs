//! Which addresses this host holds, and when it loses one.
//!
//! The kernel's news of addresses (rtnetlink(7)) only say that it is time to look; what holds is what `getifaddrs` lists. So news
//! that are lost, or in a form that is not known, cost nothing but time: there is a look every few seconds besides.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;

/// An address that comes back sooner was never lost: whoever restarts the host's network keeps its connections.
const GONE_FOR: Duration = Duration::from_secs(2);

/// A look without news.
const LOOK: Duration = Duration::from_secs(5);

/// The same where the kernel refuses to tell news.
const LOOK_WITHOUT_NEWS: Duration = Duration::from_secs(1);

/// News come in swarms, and one look is enough for a swarm.
const SWARM: Duration = Duration::from_millis(100);

/// News that are thrown away at once.
const SWARM_MOST: usize = 1000;

/// Groups of rtnetlink(7): addresses come and go (`RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`).
const ADDRESSES: u32 = 0x10 | 0x100;

/// An address that is on no interface of this host any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostAddress {
    /// Which, an IPv4 one as such.
    pub ip: IpAddr,
    /// When it was first missed.
    pub missed: Instant,
}

/// Addresses that were seen on an interface. What never was on one (the rest of 127.0.0.0/8, routes of the type `local`, what a
/// transparent proxy takes in, a VIP that is only bound) cannot be lost.
#[derive(Debug, Default)]
struct Seen(BTreeMap<IpAddr, Option<Instant>>);

impl Seen {
    /// Takes in what is there now; returns what has been gone for long enough.
    fn look(&mut self, here: &BTreeSet<IpAddr>, now: Instant) -> Vec<LostAddress> {
        for (ip, missed) in &mut self.0 {
            *missed = if here.contains(ip) { None } else { Some(missed.unwrap_or(now)) };
        }
        for ip in here {
            self.0.insert(*ip, None);
        }
        let gone = |(ip, missed): (&IpAddr, &Option<Instant>)| {
            let missed = missed.filter(|missed| now.saturating_duration_since(*missed) >= GONE_FOR)?;
            Some(LostAddress { ip: *ip, missed })
        };
        let lost: Vec<_> = self.0.iter().filter_map(gone).collect();
        for LostAddress { ip, .. } in &lost {
            self.0.remove(ip);
        }
        lost
    }

    /// How long until the next look is due at the latest.
    fn patience(&self, now: Instant, otherwise: Duration) -> Duration {
        let lost = self.0.values().flatten().map(|missed| (*missed + GONE_FOR).saturating_duration_since(now));
        lost.min().map_or(otherwise, |lost| lost.min(otherwise))
    }
}

/// Tells of addresses that this host loses.
#[derive(Debug)]
pub struct HostAddresses {
    seen: Seen,
    news: Option<UnixDatagram>,
    /// The last look failed, and that was said.
    blind: bool,
}

impl HostAddresses {
    /// Begins to watch those of the network namespace that the calling thread is in. On a runtime's thread.
    pub fn watch() -> Self {
        let news = match listen() {
            Ok(news) => Some(news),
            Err(e) => {
                tracing::debug!(error = %e, "no news of this host's addresses from the kernel: looked for each second");
                None
            }
        };
        Self { seen: Seen::default(), news, blind: false }
    }

    /// Waits until addresses are lost: two seconds after they went, unless they are back by then. May be dropped at any
    /// moment and called again.
    pub async fn lost(&mut self) -> Vec<LostAddress> {
        loop {
            match tokio::task::spawn_blocking(here).await {
                Ok(Ok(here)) => {
                    self.blind = false;
                    let lost = self.seen.look(&here, Instant::now());
                    if !lost.is_empty() {
                        return lost;
                    }
                }
                Ok(Err(e)) if !std::mem::replace(&mut self.blind, true) => {
                    tracing::warn!(error = %e, "cannot list this host's addresses: sessions on a VIP that moves away are not \
                        ended (does a sandbox forbid AF_NETLINK?)");
                }
                // Said before; or the runtime ends.
                Ok(Err(_)) | Err(_) => {}
            }
            let otherwise = if self.news.is_some() { LOOK } else { LOOK_WITHOUT_NEWS };
            // A look that failed tells nothing: what is due stays due.
            let patience = self.seen.patience(Instant::now(), otherwise).max(SWARM);
            let _ = tokio::time::timeout(patience, news(self.news.as_ref())).await;
        }
    }
}

/// A socket on which the kernel tells of addresses that come and go. It needs no privilege.
///
/// No Unix socket in truth: but recv(2) of a datagram is the same for every family, and tokio has no type for this one.
fn listen() -> io::Result<UnixDatagram> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // NETLINK_ROUTE is its protocol 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, ADDRESSES))?;
    UnixDatagram::from_std(socket.into())
}

/// Waits for news, and for the end of their swarm.
async fn news(socket: Option<&UnixDatagram>) {
    match socket {
        Some(socket) if socket.readable().await.is_ok() => {}
        _ => return std::future::pending().await,
    }
    tokio::time::sleep(SWARM).await;
    let Some(socket) = socket else { return };
    // Cut or not, and ENOBUFS as well: that there are news is all that counts.
    let mut thrown_away = [0_u8; 256];
    for _ in 0..SWARM_MOST {
        if socket.try_recv(&mut thrown_away).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            break;
        }
    }
}

/// The addresses of all interfaces, up or down.
fn here() -> io::Result<BTreeSet<IpAddr>> {
    Ok(getifaddrs()?.filter_map(|one| one.address.as_ref().and_then(ip)).collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip()).to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const FIXED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));

    #[test]
    fn an_address_is_lost_once_it_was_gone_for_two_seconds_and_only_once() {
        let (both, one) = (BTreeSet::from([FIXED, VIP]), BTreeSet::from([FIXED]));
        let (start, mut seen) = (Instant::now(), Seen::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(seen.look(&one, at(0)), []);
        assert_eq!(seen.look(&both, at(100)), []);
        assert_eq!(seen.look(&one, at(1000)), []);
        assert_eq!(seen.patience(at(1500), LOOK), Duration::from_millis(1500));
        assert_eq!(seen.look(&one, at(2900)), []);
        assert_eq!(seen.look(&one, at(3000)), [LostAddress { ip: VIP, missed: at(1000) }]);
        assert_eq!(seen.look(&one, at(9000)), []);
        assert_eq!(seen.patience(at(9000), LOOK), LOOK);
    }

    #[test]
    fn an_address_that_flaps_is_not_lost() {
        let (both, one) = (BTreeSet::from([FIXED, VIP]), BTreeSet::from([FIXED]));
        let (start, mut seen) = (Instant::now(), Seen::default());
        for (ms, here) in [(0, &both), (1000, &one), (2500, &both), (2600, &one), (4500, &one), (4550, &both)] {
            assert_eq!(seen.look(here, start + Duration::from_millis(ms)), [], "at {ms} ms");
        }
    }

    #[test]
    fn an_address_that_never_was_on_an_interface_cannot_be_lost() {
        let mut seen = Seen::default();
        let start = Instant::now();
        for ms in [0, 5000, 10_000] {
            assert_eq!(seen.look(&BTreeSet::from([FIXED]), start + Duration::from_millis(ms)), []);
        }
        assert!(!seen.0.contains_key(&VIP));
    }

    #[test]
    fn this_host_holds_its_loopback_address_and_not_the_rest_of_its_network() {
        let here = here().unwrap();
        assert!(here.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{here:?}");
        assert!(!here.contains(&IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9))), "{here:?}");
        assert!(!here.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)), "{here:?}");
    }
}
