//! Addresses, listeners, TLS configurations and the relay. Knows no MySQL.

mod addresses;
mod connect;
pub mod handover;
mod inherited;
mod listener;
mod listeners;
pub mod proxy;
mod relay;
mod stream;
mod tcp_info;
pub mod tls;
mod unix;

pub use addresses::{HostAddresses, LostAddress};
pub use connect::{From, connect};
pub use inherited::Inherited;
pub use listener::{Binding, ListenError, Listener, is_local_shortage};
pub use listeners::Listeners;
pub use relay::{End, Meter, Side, Timers, Wire, relay};
pub use stream::{Detached, Peer, Plain, Stream, canonical};
pub use tcp_info::Outstanding;
pub use unix::{SocketFile, UnixError, bind_unix};
