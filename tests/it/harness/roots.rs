//! Servers that this machine's Debian does not have, out of the root directories that `scripts/server-roots` makes.

use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use super::cluster::{Cluster, turn};
use super::root;

/// A root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// MariaDB 11.8 with Galera.
    Mariadb,
    /// MySQL 9.
    Mysql,
}

impl Root {
    /// Where it is; fails the test where it is not.
    #[track_caller]
    pub fn path(self) -> PathBuf {
        let name = match self {
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        };
        let roots = std::env::var_os("GALEWAY_SERVER_ROOTS").unwrap_or("/var/cache/galeway-server-roots".into());
        let path = Path::new(&roots).join(name);
        // It is moved there whole.
        assert!(path.exists(), "there is no {}: please run scripts/server-roots", path.display());
        path
    }

    /// A command that becomes what its last arguments say, with the programs, libraries and settings of this root: in a mount
    /// namespace of its own, in which all else is this machine's: directories for data, process ids, network.
    #[track_caller]
    pub fn launcher(self) -> Vec<String> {
        const ENTER: &str = r#"mount --bind "$0/etc" /etc && mount --bind "$0/usr" /usr && exec "$@""#;
        let path = self.path().display().to_string();
        ["unshare", "--mount", "/bin/sh", "-c", ENTER, &path].map(str::to_owned).into()
    }
}

/// For a test with servers out of a root: until this is dropped no other test has real servers at work. `None` where the user
/// asked for a run without root rights, without which there are none.
#[track_caller]
pub fn turn_with_roots() -> Option<MutexGuard<'static, [Option<Cluster>; 2]>> {
    root("a server out of another root").then(turn)
}
