//! The MySQL protocol, as far as a balancer speaks it: the first packet of a server, an ERR packet in its place,
//! a login with every plugin a monitor's account may have, and one text query at a time.
//!
//! ```text
//!  a server's first bytes ──► greeting::classify_first_packet ──► the session: pass on, or try the next node
//!                                        │
//!  net::Stream ─► connection ─► framing ─┴─► login (pure: packet in, answer out) ─► query, ping, closed, quit
//! ```
//!
//! Nothing a server sends can panic or take memory beyond [`MAX_PACKET`]: lengths are claims, checked before they
//! are believed. No deadline lives here: a caller puts one over its whole check, and may drop any future of this
//! room at any time (a connection dropped in the middle of a command refuses the next one).
//!
//! Sources: MySQL's "Connection Phase" and "Text Protocol" (MySQL Source Code Documentation, Client/Server
//! Protocol), MariaDB's "Connecting" and "Result Set Packets" (MariaDB Knowledge Base, Clients & Utilities).

mod connection;
mod err_packet;
mod error;
mod framing;
mod greeting;
mod login;
mod meaning;
mod rows;

pub use connection::{Connection, Credentials, Greeted};
pub use err_packet::{ERR_TEXT_MAX, err_packet};
pub use error::{Error, Phase, ServerError};
pub use framing::MAX_PACKET;
pub use greeting::{FirstPacket, MAX_FIRST_PACKET, classify_first_packet};
pub use meaning::Meaning;
pub use rows::Rows;
