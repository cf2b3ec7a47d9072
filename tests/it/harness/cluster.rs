//! A real three-node cluster that all tests of this process share, one after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::node::{Node, Start, make_seed};
use super::{secs, watchdog, within};

/// Nodes `n1`, `n2`, `n3`, all Synced when [`Cluster::start`] returns.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    untouched: Vec<Print>,
}

/// What tests may change and must put back: system variables, databases, accounts.
type Print = BTreeMap<String, String>;

impl Cluster {
    /// Three new nodes, which takes 2 to 3 s. Most tests want the shared one: [`cluster`].
    pub fn start() -> Self {
        Self::of(3)
    }

    fn of(count: usize) -> Self {
        let began = Instant::now();
        let ports: Vec<_> = (0..count).map(|_| Node::free_ports()).collect();
        let group = ports.iter().map(|p| format!("127.0.0.1:{}", p[1])).collect::<Vec<_>>().join(",");
        let node = |i: usize| {
            let name = format!("n{}", i + 1);
            Node::new(&name, watchdog::fresh_path(&name), ports[i], group.clone(), &[])
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        for (i, node) in nodes.iter().enumerate() {
            node.start(Start::Together(seed(), i + 1));
        }
        for node in &nodes {
            node.wait_synced(count as u32);
        }
        let untouched = nodes.iter().map(print_of).collect();
        println!("harness: {count} nodes Synced after {:?}", began.elapsed());
        Self { nodes, untouched }
    }

    /// Where the nodes' clients connect, in order.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::addr).collect()
    }

    /// All running nodes Synced in one component of all nodes.
    #[track_caller]
    pub fn wait_whole(&self) {
        for node in &self.nodes {
            node.wait_synced(self.nodes.len() as u32);
        }
    }

    /// Whether a next test finds it as a first one would; why not.
    fn clean(&self) -> Result<(), String> {
        for node in &self.nodes {
            if !node.running() {
                return Err(format!("{} does not run", node.name));
            }
            // A node that was healed at the very end of a test may need a moment more; a frozen one answers never.
            let whole = |node: &Node| node.state().ok().filter(|s| s.synced() && s.size == self.nodes.len() as u32);
            if within(secs(1), || whole(node)).is_none() {
                return Err(format!("{} is not Synced: {:?}", node.name, node.state()));
            }
        }
        for (node, before) in self.nodes.iter().zip(&self.untouched) {
            let now = print_of(node);
            let differs = |(key, value): &(&String, &String)| before.get(*key) != Some(*value);
            if let Some((key, value)) = now.iter().find(differs) {
                return Err(format!("on {} {key} is {value}, and was {:?}", node.name, before.get(key)));
            }
            if let Some(gone) = before.keys().find(|key| !now.contains_key(*key)) {
                return Err(format!("on {} {gone} is gone", node.name));
            }
        }
        Ok(())
    }
}

fn print_of(node: &Node) -> Print {
    // These move by themselves.
    let moves = |name: &str| name.starts_with("gtid_") || name == "wsrep_start_position";
    let mut conn = node.root().unwrap();
    let mut print = Print::new();
    let mut add = |kind: &str, sql: &str| {
        for row in conn.query(sql).unwrap() {
            let mut fields = row.into_iter().map(Option::unwrap_or_default);
            let name = fields.next().unwrap_or_default();
            if !moves(&name) {
                print.insert(format!("{kind} {name}"), fields.next().unwrap_or_default());
            }
        }
    };
    add("variable", "SHOW GLOBAL VARIABLES");
    add("database", "SHOW DATABASES");
    add("account", "SELECT CONCAT(User, '@', Host), Priv FROM mysql.global_priv");
    print
}

/// The stopped node from whose data all others begin; made once per process.
fn seed() -> &'static Path {
    static SEED: OnceLock<std::path::PathBuf> = OnceLock::new();
    SEED.get_or_init(|| {
        let dir = watchdog::fresh_path("seed");
        make_seed(&dir);
        dir
    })
}

/// The shared cluster, for one test at a time.
#[derive(Debug)]
pub struct Shared(MutexGuard<'static, Option<Cluster>>);

impl Deref for Shared {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect("cluster() put it there")
    }
}

/// Waits for the shared cluster and returns it whole: three nodes Synced, variables, databases and accounts as at the
/// start. A test may break it as it likes: it is built anew (3 s) for the next one if it was left in another state.
pub fn cluster() -> Shared {
    static SHARED: Mutex<Option<Cluster>> = Mutex::new(None);
    // A test that failed while it held the cluster poisoned the lock; what it left behind is looked at here.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = shared.as_ref()
        && let Err(why) = cluster.clean()
    {
        println!("harness: the cluster is built anew: {why}");
        *shared = None;
    }
    if shared.is_none() {
        *shared = Some(Cluster::start());
    }
    Shared(shared)
}

/// One Galera node on its own, Primary and Synced, with these `mariadbd` flags after the usual ones; independent of the
/// shared cluster. For what must be set at the start: `--plugin-load-add=auth_ed25519`, `--require-secure-transport=ON`
/// with `--ssl-cert=…`, `--skip-skip-name-resolve`, `--extra-port=…`.
pub fn standalone(flags: &[&str]) -> Node {
    let ports = Node::free_ports();
    let node = Node::new("solo", watchdog::fresh_path("solo"), ports, format!("127.0.0.1:{}", ports[1]), flags);
    node.start(Start::Bootstrap(Some(seed())));
    node.wait_synced(1);
    node
}
