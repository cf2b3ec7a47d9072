//! Sessions whose client is connected to another host by now.
//!
//! When a VIP moves, the clients' next packets go to whoever holds it, who knows nothing of their sessions. Ours would stay until
//! keepalive ends them, and with them their transactions, whose row locks everybody else waits for.

use super::standing::Standing;
use crate::config::Listen;
use crate::net::HostAddresses;

/// Ends sessions as their addresses leave this host. Never returns.
pub(super) async fn end_orphans(standing: Standing) {
    let mut addresses = HostAddresses::watch();
    loop {
        for lost in addresses.lost().await {
            let services = standing.parts().services();
            let listens = |at: &Listen| match at {
                Listen::Tcp(at) => at.ip().to_canonical() == lost.ip || at.ip().is_unspecified(),
                // What it is bound to is not asked: it may be anything.
                Listen::Inherited(_) => true,
                Listen::Unix(_) => false,
            };
            if services.iter().any(|service| service.settings.accept.iter().any(listens)) {
                tracing::info!(address = %lost.ip, "this host has lost an address: sessions that came in on it end");
            }
            for service in services {
                service.address_lost(lost.ip, lost.missed);
            }
        }
    }
}
