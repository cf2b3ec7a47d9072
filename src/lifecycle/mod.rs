//! From a configuration to a running instance, and to its end.
//!
//! ```text
//!  main thread: signals        control thread: monitors, admin, upkeep        worker threads: accept, sessions
//! ```
//!
//! There are no statics: two instances run side by side in one process.
//!
//! What belongs to the process and not to an instance: [`Plan`] (root, user, groups), [`Null`] (a daemon), [`PidFile`].

mod admin_sockets;
mod certificates;
mod control;
mod daemon;
mod handed;
mod handle;
mod instance;
mod midwife;
mod notify;
mod orphans;
mod pid;
mod predecessor;
mod privileges;
mod reload;
mod services;
mod standing;
mod upgrade;

pub use daemon::Null;
pub use handed::Handed;
pub use handle::{Handle, Shared};
pub use instance::{Instance, Prepared, Sockets, StartError};
pub use midwife::attend;
pub use notify::{Notifier, Pulse};
pub use pid::{PidError, PidFile};
pub use predecessor::{Predecessor, Relieved};
pub use privileges::{Plan, PrivilegeError, Unreadable, unreadable};
pub use reload::{Changes, Reloaded, Reloader};
pub use upgrade::{Program, Successor, Upgrade};
