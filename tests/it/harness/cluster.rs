//! Real clusters that all tests of this process share, one test after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::node::{Node, Start, make_seed};
use super::roots::Root;
use super::{notify, secs, until, watchdog, within};

/// What a cluster is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub nodes: usize,
    /// `wsrep_node_incoming_address` as most people leave it: `AUTO`. Otherwise each node's real address.
    pub auto: bool,
    /// `wsrep_notify_cmd` is a script that calls what [`Node::on_notify`] says.
    pub notify: bool,
    /// The last node tells the others an address at which it does not listen: [`Cluster::elsewhere`].
    pub elsewhere: bool,
    /// One GTID for one transaction, whichever node tells of it: what a replica needs that is to go from one to another.
    pub gtid: bool,
    /// Out of this root, and not this machine's own.
    pub root: Option<Root>,
    /// `wsrep_provider_options` can be set at run time on servers that have the plugin `wsrep_provider`, too: it is off.
    pub no_provider_plugin: bool,
}

impl Options {
    /// Three nodes of this machine's own MariaDB, each with its address.
    pub const USUAL: Self = Self {
        nodes: 3,
        auto: false,
        notify: false,
        elsewhere: false,
        gtid: false,
        root: None,
        no_provider_plugin: false,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Nodes `n1`, `n2`, `n3`…, all Synced when [`Cluster::start`] returns.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub options: Options,
    untouched: Vec<Print>,
}

/// What tests may change and must put back: system variables, databases, accounts.
type Print = BTreeMap<String, String>;

impl Cluster {
    /// New nodes, which takes 2 to 3 s. Most tests want the shared ones: [`cluster`].
    pub fn start(options: Options) -> Self {
        let began = Instant::now();
        let count = options.nodes;
        let ports: Vec<_> = (0..count).map(|_| Node::free_ports()).collect();
        let group = ports.iter().map(|p| format!("127.0.0.1:{}", p[1])).collect::<Vec<_>>().join(",");
        let node = |i: usize| {
            let name = format!("n{}", i + 1);
            let dir = watchdog::fresh_path(&name);
            let mut flags = Vec::new();
            if options.auto {
                flags.push("--wsrep-node-incoming-address=AUTO".to_owned());
            }
            if options.elsewhere && i + 1 == count {
                flags.push(format!("--wsrep-node-incoming-address={}", elsewhere(ports[i][0])));
            }
            if options.gtid {
                let gtid = ["--wsrep-gtid-mode=ON", "--wsrep-gtid-domain-id=77", "--server-id=77"];
                flags.extend(gtid.map(str::to_owned));
                // Of what a node does for itself alone.
                flags.push(format!("--gtid-domain-id={}", 100 + i));
            }
            if options.notify {
                flags.push(format!("--wsrep-notify-cmd={}", notify::install(&dir).display()));
            }
            if options.no_provider_plugin {
                flags.push("--plugin-wsrep-provider=OFF".into());
            }
            Node::new(&name, dir, ports[i], group.clone(), &flags).through(launcher(options.root))
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        for (i, node) in nodes.iter().enumerate() {
            node.start(Start::Together(seed_of(options.root), i + 1));
        }
        for node in &nodes {
            node.wait_synced(count as u32);
        }
        let untouched = nodes.iter().map(print_of).collect();
        println!("harness: {count} nodes Synced after {:?}", began.elapsed());
        Self { nodes, options, untouched }
    }

    /// The node of this name.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// What the last node tells the others of itself with [`Options::elsewhere`]; nobody listens there.
    #[track_caller]
    pub fn elsewhere(&self) -> SocketAddr {
        elsewhere(self.nodes.last().expect("a cluster has nodes").addr().port())
    }

    /// Takes from the monitor its right to read `mysql.wsrep_cluster_members`, until the guard is dropped.
    #[must_use = "the grant comes back when this is dropped"]
    pub fn revoke_members(&self) -> Revoked<'_> {
        self.nodes[0].sql("REVOKE SELECT ON mysql.wsrep_cluster_members FROM monitor@'%'");
        Revoked(self)
    }

    /// Where the nodes' clients connect, in order.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::addr).collect()
    }

    /// All running nodes Synced in one component of all nodes.
    #[track_caller]
    pub fn wait_whole(&self) {
        self.wait_size(self.nodes.len());
    }

    /// All nodes Synced in one component of this size; an arbitrator counts.
    #[track_caller]
    pub fn wait_size(&self, size: usize) {
        for node in &self.nodes {
            node.wait_synced(size as u32);
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

/// What [`Cluster::revoke_members`] took.
#[derive(Debug)]
pub struct Revoked<'a>(&'a Cluster);

impl Drop for Revoked<'_> {
    fn drop(&mut self) {
        // A test that ends in the middle of a fault leaves a cluster that is built anew.
        let _ = self.0.nodes.iter().any(|n| n.try_sql(GRANT_MEMBERS).is_ok());
    }
}

const GRANT_MEMBERS: &str = "GRANT SELECT ON mysql.wsrep_cluster_members TO monitor@'%'";

fn print_of(node: &Node) -> Print {
    // These move by themselves; the offset is the node's place in the view.
    let moves =
        |name: &str| name.starts_with("gtid_") || ["wsrep_start_position", "auto_increment_offset"].contains(&name);
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
    add("grant", "SELECT CONCAT(User, '@', Host, ' on ', Db, '.', Table_name), Table_priv FROM mysql.tables_priv");
    print
}

fn elsewhere(port: u16) -> SocketAddr {
    ([127, 0, 0, 2], port).into()
}

fn launcher(root: Option<Root>) -> Vec<String> {
    root.map(Root::launcher).unwrap_or_default()
}

/// The stopped node from whose data all others begin; made once per process, and once out of a root.
fn seed_of(root: Option<Root>) -> &'static Path {
    static SEEDS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    SEEDS[usize::from(root.is_some())].get_or_init(|| {
        let dir = watchdog::fresh_path("seed");
        make_seed(&dir, &launcher(root));
        dir
    })
}

fn seed() -> &'static Path {
    seed_of(None)
}

/// A shared cluster, for one test at a time.
#[derive(Debug)]
pub struct Shared(MutexGuard<'static, [Option<Cluster>; 2]>, usize);

impl Deref for Shared {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.0[self.1].as_ref().expect("cluster() put it there")
    }
}

static SHARED: Mutex<[Option<Cluster>; 2]> = Mutex::new([None, None]);

/// For a test with real servers of its own: until this is dropped no other test has any at work.
pub fn turn() -> MutexGuard<'static, [Option<Cluster>; 2]> {
    // A test that failed while it held the cluster poisoned the lock; what it left behind is looked at by the next.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the shared cluster and returns it whole: three nodes Synced, variables, databases and accounts as at the
/// start. A test may break it as it likes: it is built anew (3 s) for the next one if it was left in another state.
pub fn cluster() -> Shared {
    cluster_of(Options::default())
}

/// The same with other options. Of all clusters with other options the last one asked for is kept beside the usual one,
/// idle: no two tests ever work on real servers at once.
pub fn cluster_of(options: Options) -> Shared {
    let mut shared = turn();
    let place = usize::from(options != Options::default());
    if shared[place].as_ref().is_some_and(|cluster| cluster.options != options) {
        shared[place] = None;
    }
    if let Some(Err(why)) = shared[place].as_ref().map(Cluster::clean) {
        println!("harness: the cluster is built anew: {why}");
        shared[place] = None;
    }
    if shared[place].is_none() {
        shared[place] = Some(Cluster::start(options));
    }
    Shared(shared, place)
}

/// One Galera node on its own, Primary and Synced, with these `mariadbd` flags after the usual ones; independent of the
/// shared cluster. For what must be set at the start: `--plugin-load-add=auth_ed25519`, `--require-secure-transport=ON`
/// with `--ssl-cert=…`, `--skip-skip-name-resolve`, `--extra-port=…`.
pub fn standalone(flags: &[&str]) -> Node {
    standalone_of(None, flags)
}

/// The same out of a root.
pub fn standalone_out_of(root: Root, flags: &[&str]) -> Node {
    standalone_of(Some(root), flags)
}

fn standalone_of(root: Option<Root>, flags: &[&str]) -> Node {
    let ports = Node::free_ports();
    let node = Node::new("solo", watchdog::fresh_path("solo"), ports, format!("127.0.0.1:{}", ports[1]), flags);
    let node = node.through(launcher(root));
    node.start(Start::Bootstrap(Some(seed_of(root))));
    node.wait_synced(1);
    node
}

/// A server without Galera, which runs, with the accounts and the data of all nodes and these flags after the usual ones.
/// It writes no binary log: what it has it got by replication, or from us.
pub fn server(name: &str, flags: &[&str]) -> Node {
    server_through(Vec::new(), name, flags)
}

/// The same through a launcher: see [`Node::through`].
pub fn server_through(launcher: Vec<String>, name: &str, flags: &[&str]) -> Node {
    let usual = ["--wsrep-on=OFF", "--wsrep-provider=none", "--skip-log-bin", "--skip-log-slave-updates"];
    let node =
        Node::new(name, watchdog::fresh_path(name), Node::free_ports(), String::new(), &[&usual, flags].concat());
    let node = node.through(launcher);
    node.start(Start::Bootstrap(Some(seed())));
    until(secs(30), "the server takes logins", || node.root().ok());
    node
}
