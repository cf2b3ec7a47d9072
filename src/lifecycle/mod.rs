//! From a configuration to a running instance, and to its end.
//!
//! ```text
//!  main thread: signals        control thread: monitors, admin, upkeep        worker threads: accept, sessions
//! ```
//!
//! There are no statics: two instances run side by side in one process.

mod control;
mod handle;
mod instance;

pub use handle::Handle;
pub use instance::{Instance, Prepared, Sockets, StartError};
