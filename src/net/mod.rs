//! Addresses, listeners, TLS configurations and the relay. Knows no MySQL.

mod listener;
mod relay;
mod stream;
mod tcp_info;
pub mod tls;
mod unix;

pub use listener::{Listener, Listeners, is_local_shortage};
pub use relay::{End, Meter, Side, Timers, Wire, relay};
pub use stream::Stream;
pub use tcp_info::Outstanding;
pub use unix::{SocketFile, UnixError, bind_unix};
