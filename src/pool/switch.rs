//! The kill switch: how a node's established sessions hear that they must end.
//!
//! A session takes its [`Lease`] before it connects. A kill raises the switch's epoch, so a session that was picked
//! just before a verdict changed, and connected just after, finds its lease expired instead of living for ever on a
//! node that nobody may use.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::galera::Reason;

/// Why sessions are to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The node's verdict.
    Verdict(Reason),
    /// Galeway stops.
    Shutdown,
    /// The session's service is gone from the configuration.
    Retired,
    /// The address that the client connected to has left this host.
    AddressLost(IpAddr),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(reason) => reason.fmt(f),
            Self::Shutdown => f.write_str("galeway stops"),
            Self::Retired => f.write_str("its service is gone from the configuration"),
            Self::AddressLost(ip) => write!(f, "{ip} has left this host"),
        }
    }
}

/// A kill.
#[derive(Debug, Clone)]
struct Kill {
    /// Rises with each of them.
    epoch: u64,
    cause: Cause,
    /// The sessions end evenly spread over this time.
    spread: Duration,
}

impl Kill {
    fn none() -> Self {
        Self { epoch: 0, cause: Cause::Shutdown, spread: Duration::ZERO }
    }

    fn next(&mut self, cause: Cause, spread: Duration) {
        *self = Self { epoch: self.epoch.wrapping_add(1), cause, spread };
    }
}

#[derive(Debug, Clone)]
struct Orders {
    /// Of every session.
    kill: Kill,
    /// Of the sessions of writer services.
    demotion: Kill,
    drain: Option<(Instant, Cause)>,
}

/// One node's switch.
#[derive(Debug)]
pub struct KillSwitch {
    orders: watch::Sender<Orders>,
}

impl Default for KillSwitch {
    fn default() -> Self {
        Self { orders: watch::Sender::new(Orders { kill: Kill::none(), demotion: Kill::none(), drain: None }) }
    }
}

impl KillSwitch {
    /// Ends every session that holds a lease now, evenly spread over `spread`. A drain is over with it: whom it concerned
    /// is gone, and it must not end the sessions of the node's next life.
    pub fn kill(&self, cause: Cause, spread: Duration) {
        self.orders.send_modify(|o| {
            o.kill.next(cause, spread);
            o.drain = None;
        });
    }

    /// The same for sessions of writer services only.
    pub fn demote(&self, cause: Cause, spread: Duration) {
        self.orders.send_modify(|o| o.demotion.next(cause, spread));
    }

    /// Ends what is left at `until`.
    pub fn drain(&self, until: Instant, cause: Cause) {
        self.orders.send_modify(|o| o.drain = Some((until, cause)));
    }

    /// Takes a drain back.
    pub fn resume(&self) {
        self.orders.send_modify(|o| o.drain = None);
    }

    /// Wakes every session that holds a lease, to look again at what may end it; no order is new.
    pub fn nudge(&self) {
        self.orders.send_modify(|_| {});
    }

    /// To be taken before a session connects. `writes`: it is there because the node is the writer.
    pub fn lease(&self, writes: bool) -> Lease {
        let orders = self.orders.subscribe();
        let (epoch, demotion) = {
            let orders = orders.borrow();
            (orders.kill.epoch, writes.then_some(orders.demotion.epoch))
        };
        Lease { orders, epoch, demotion }
    }
}

/// What a session has been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Live,
    /// End at this time, unless told otherwise before.
    EndAt(Instant, Cause),
    /// End at some moment within this time from now; nothing takes that back.
    End(Cause, Duration),
}

/// A session's side of the switch.
#[derive(Debug)]
pub struct Lease {
    orders: watch::Receiver<Orders>,
    epoch: u64,
    demotion: Option<u64>,
}

impl Lease {
    /// What holds now.
    pub fn order(&mut self) -> Order {
        let orders = self.orders.borrow_and_update();
        if orders.kill.epoch != self.epoch {
            return Order::End(orders.kill.cause.clone(), orders.kill.spread);
        }
        if self.demotion.is_some_and(|epoch| orders.demotion.epoch != epoch) {
            return Order::End(orders.demotion.cause.clone(), orders.demotion.spread);
        }
        match &orders.drain {
            Some((until, cause)) => Order::EndAt(*until, cause.clone()),
            None => Order::Live,
        }
    }

    /// Waits for a new order, or a nudge. Never returns once the node is gone and its last order was heard.
    pub async fn changed(&mut self) {
        if self.orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause() -> Cause {
        Cause::Verdict(Reason::NotReady)
    }

    #[test]
    fn a_lease_taken_before_a_kill_is_ended_and_one_taken_after_lives() {
        let switch = KillSwitch::default();
        let mut before = switch.lease(false);
        switch.kill(cause(), Duration::ZERO);
        let mut after = switch.lease(false);
        assert_eq!(before.order(), Order::End(cause(), Duration::ZERO));
        assert_eq!(after.order(), Order::Live);
    }

    #[test]
    fn a_node_restarted_while_it_drained_keeps_the_sessions_of_its_next_life() {
        let switch = KillSwitch::default();
        switch.drain(Instant::now(), cause());
        switch.kill(cause(), Duration::ZERO);
        assert_eq!(switch.lease(false).order(), Order::Live);
    }

    #[test]
    fn a_drain_reaches_later_leases_too_until_it_is_taken_back() {
        let switch = KillSwitch::default();
        let until = Instant::now();
        switch.drain(until, cause());
        let mut lease = switch.lease(false);
        assert_eq!(lease.order(), Order::EndAt(until, cause()));
        switch.resume();
        assert_eq!(lease.order(), Order::Live);
    }

    #[test]
    fn a_demotion_ends_the_sessions_of_writer_services_and_no_others() {
        let switch = KillSwitch::default();
        let (mut writes, mut reads) = (switch.lease(true), switch.lease(false));
        switch.demote(cause(), Duration::from_secs(1));
        assert_eq!(writes.order(), Order::End(cause(), Duration::from_secs(1)));
        assert_eq!(reads.order(), Order::Live);
        assert_eq!(switch.lease(true).order(), Order::Live, "the writer of another time");
    }
}
