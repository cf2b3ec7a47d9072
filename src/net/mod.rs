//! Addresses, listeners, TLS configurations and the relay. Knows no MySQL.

mod stream;
pub mod tls;

pub use stream::Stream;
