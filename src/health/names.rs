//! Names that lead elsewhere: looked up again now and then, since a check that stays connected never asks.

use std::sync::Arc;
use std::time::Duration;

use super::resolve::{literal, resolve};
use super::roster::Origin;
use super::watch::ClusterWatch;

/// Time between two look-ups of a name.
pub(super) const AGAIN: Duration = Duration::from_secs(30);

/// Looks configured names up for as long as the process lives. One that cannot be looked up leads where it led.
pub(super) async fn run(watch: Arc<ClusterWatch>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        for node in watch.nodes().iter() {
            if node.origin == Origin::Configured
                && literal(&node.spec.address).is_none()
                && let Ok(addresses) = resolve(&node.spec.address, None, watch.lookup()).await
            {
                watch.found(node, &addresses);
            }
        }
    }
}
