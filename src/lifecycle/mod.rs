//! From a configuration to a running instance, and to its end.
//!
//! ```text
//!  main thread: signals        control thread: monitors, admin, upkeep        worker threads: accept, sessions
//! ```
//!
//! There are no statics: two instances run side by side in one process.
//!
//! What belongs to the process and not to an instance: [`Plan`] (root, user, groups), [`Null`] (a daemon), [`PidFile`].

mod certificates;
mod control;
mod daemon;
mod handle;
mod instance;
mod orphans;
mod pid;
mod privileges;
mod reload;
mod services;
mod standing;

pub use daemon::Null;
pub use handle::{Handle, Shared};
pub use instance::{Instance, Prepared, Sockets, StartError};
pub use pid::{PidError, PidFile};
pub use privileges::{Plan, PrivilegeError, Unreadable, unreadable};
pub use reload::{Changes, Reloaded, Reloader};
