//! Trap 2 on purpose: two Primary components that share everything but their members.

use super::cluster::Cluster;
use super::node::{Node, State};
use super::secs;

/// One node is a Primary component of its own, the others are another; each has a write that the other lacks.
#[derive(Debug)]
pub struct SplitBrain<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    /// Members of the whole, an arbitrator included.
    size: usize,
}

/// Isolates the node, waits until it is non-Primary and the others go on without it, bootstraps it, and writes on both
/// sides: `demo.alone` there, `demo.rest` on the others.
#[track_caller]
pub fn split_brain<'a>(cluster: &'a Cluster, node: &'a Node) -> SplitBrain<'a> {
    let size = node.state().unwrap().size as usize;
    node.isolate();
    node.wait(secs(20), "non-Primary", |s| !s.primary());
    let others: Vec<_> = cluster.nodes.iter().filter(|n| n.name != node.name).collect();
    for other in &others {
        other.wait_synced(size as u32 - 1);
    }
    node.bootstrap();
    node.wait_synced(1);
    node.sql("CREATE TABLE demo.alone (id INT PRIMARY KEY)");
    others[0].sql("CREATE TABLE demo.rest (id INT PRIMARY KEY)");
    let split = SplitBrain { cluster, node, size };
    split.assert_trap();
    split
}

impl SplitBrain<'_> {
    /// By plain SQL: nothing but size and members tells the sides apart.
    #[track_caller]
    fn assert_trap(&self) {
        let alone = self.node.state().unwrap();
        let members = self.node.members();
        assert_eq!((alone.size, members.len()), (1, 1), "{alone:?} {members:?}");
        for other in self.cluster.nodes.iter().filter(|n| n.name != self.node.name) {
            let (state, others) = (other.state().unwrap(), other.members());
            println!("{}: {alone:?} {members:?}\n{}: {state:?} {others:?}", self.node.name, other.name);
            assert!(alone.synced() && state.synced(), "both sides say that they are whole");
            // The last seqno is equal too, where nobody else writes.
            let same = |s: &State| (s.state_uuid.clone(), s.conf_id, s.connected);
            assert_eq!(same(&alone), same(&state), "equal on both sides");
            assert_eq!(state.size as usize, self.size - 1);
            assert_eq!(others.len(), self.size - 1);
            assert!(members.iter().all(|m| others.iter().all(|o| o.uuid != m.uuid)), "disjoint members");
            // Each side's view is in the order of the uuids, and each counts from 0.
            let place = others.iter().position(|m| m.uuid == state.gcomm_uuid);
            assert_eq!((alone.local_index, state.local_index), (Some(0), place.map(|i| i as u32)));
        }
    }

    /// The only way out: the node loses its data and joins the others.
    #[track_caller]
    pub fn heal(self) {
        self.begin_heal();
        self.cluster.wait_size(self.size);
        for node in &self.cluster.nodes {
            node.sql("DROP TABLE IF EXISTS demo.rest");
        }
    }

    /// The same, without waiting until the cluster is whole.
    #[track_caller]
    pub fn begin_heal(&self) {
        self.node.kill();
        self.node.wipe();
        self.node.rejoin();
    }
}
