//! A scripted Percona XtraDB Cluster 8.0: what a real one sends, as far as its documents and test results tell.
//!
//! Its rows are those of `tests/fixtures/rows/pxc-8.0.rows`, it greets as release 8.0.36-28.1 does, with
//! caching_sha2_password, and it has `pxc_maint_mode` and `offline_mode` (error 3032). No real one was at hand.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::auth::Account;
use super::{FakeNode, Greeting};

/// Its rows.
pub(crate) const ROWS: &str = include_str!("../../fixtures/rows/pxc-8.0.rows");

/// The monitor's account on it.
pub(crate) const USER: &str = "monitor";
/// Its password.
pub(crate) const PASSWORD: &str = "monitor";

/// Three nodes of one cluster, `pxc1` to `pxc3`.
pub(crate) struct Pxc {
    nodes: Vec<FakeNode>,
    caches: Vec<Arc<AtomicBool>>,
}

impl Pxc {
    pub(crate) fn start() -> Self {
        let nodes: Vec<FakeNode> =
            (1..=3).map(|i| FakeNode::on(TcpListener::bind("127.0.0.1:0").unwrap(), &name(i))).collect();
        let caches: Vec<_> = nodes.iter().map(|_| Arc::new(AtomicBool::new(false))).collect();
        let members: Vec<_> = (1..=3).map(|i| [uuid(i), state_uuid(), name(i), address(i)]).collect();
        for ((i, node), cached) in (1..).zip(&nodes).zip(&caches) {
            let mut facts = node.shared.facts.lock().unwrap();
            facts.greeting = Greeting { version: "8.0.36-28.1".into(), ..Greeting::mysql8() };
            facts.account = Some(Account { user: USER, password: PASSWORD, cached: Arc::clone(cached) });
            facts.status.clear();
            facts.variables.clear();
            for line in ROWS.lines().filter(|line| !line.starts_with('#')) {
                let (from, row) = line.split_once('\t').unwrap();
                let (row, value) = row.split_once('\t').unwrap();
                let rows = if from == "status" { &mut facts.status } else { &mut facts.variables };
                rows.insert(row.into(), value.into());
            }
            facts.status.insert("wsrep_local_index".into(), (i - 1).to_string());
            facts.status.insert("wsrep_gcomm_uuid".into(), uuid(i));
            facts.status.insert("wsrep_cluster_state_uuid".into(), state_uuid());
            facts.variables.insert("wsrep_node_name".into(), name(i));
            facts.members = Some(members.clone());
        }
        Self { nodes, caches }
    }

    /// Node `i`, counted from 1.
    pub(crate) fn node(&self, i: usize) -> &FakeNode {
        &self.nodes[i - 1]
    }

    /// Their names and addresses.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        (1..).zip(&self.nodes).map(|(i, node)| (name(i), node.addr())).collect()
    }

    /// The server's cache forgets the account, as on a restart or `FLUSH PRIVILEGES`.
    pub(crate) fn forget_account(&self, i: usize) {
        self.caches[i - 1].store(false, Ordering::SeqCst);
    }

    /// The server's cache knows the account.
    pub(crate) fn knows_account(&self, i: usize) -> bool {
        self.caches[i - 1].load(Ordering::SeqCst)
    }
}

pub(crate) fn name(i: usize) -> String {
    format!("pxc{i}")
}

fn uuid(i: usize) -> String {
    format!("{i:08}-ece7-11f1-b1a8-4e5270fc66f9")
}

fn state_uuid() -> String {
    "6c8a1b2e-0000-11ef-8000-000000000001".into()
}

fn address(i: usize) -> String {
    format!("10.0.0.{i}:3306")
}
