//! What the kernel knows of bytes that a peer has not acknowledged yet.
//!
//! `TCP_USER_TIMEOUT` would end a connection whose living peer merely does not read: the kernel counts the time of
//! a closed window even while its probes are answered (`tcp_probe_timer` in Linux' `net/ipv4/tcp_timer.c`). So the
//! relay asks `TCP_INFO` now and then, and tells a vanished peer from a paused one itself.

use std::time::Duration;

use nix::sys::socket::sockopt::GetStruct;
use tokio::net::TcpStream;

/// The first 152 bytes of `struct tcp_info` (`include/uapi/linux/tcp.h`), which Linux has filled since 4.6.
type RawTcpInfo = [u32; 38];

/// Byte 3 of the structure is `tcpi_probes`.
const FIRST_WORD: usize = 0;
/// `tcpi_unacked`: segments in flight.
const UNACKED: usize = 6;
/// `tcpi_last_ack_recv`: milliseconds.
const LAST_ACK_RECV: usize = 14;
/// `tcpi_notsent_bytes`.
const NOTSENT_BYTES: usize = 36;

#[derive(Debug, Clone, Copy)]
struct TcpInfo;

nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, RawTcpInfo, GetStruct<RawTcpInfo>);

/// Bytes on their way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outstanding {
    /// Bytes are queued or in flight that the peer has not acknowledged.
    pub any: bool,
    /// The peer's window is closed: nothing is in flight, and the kernel probes.
    pub window_closed: bool,
    /// Window probes sent since the last answer. A living peer answers each within a round trip.
    pub unanswered_probes: u8,
    /// Time since the peer's last acknowledgement of anything, a probe's included.
    pub since_last_ack: Duration,
}

/// Asks the kernel about `socket`. `None` where it does not say, as on a kernel before 4.6 or a closed socket.
pub(super) fn outstanding(socket: &TcpStream) -> Option<Outstanding> {
    let info: RawTcpInfo = nix::sys::socket::getsockopt(socket, TcpInfo).ok()?;
    let word = |i: usize| info.get(i).copied().unwrap_or(0);
    let in_flight = word(UNACKED) > 0;
    let queued = word(NOTSENT_BYTES) > 0;
    let [_, _, _, unanswered_probes] = word(FIRST_WORD).to_ne_bytes();
    Some(Outstanding {
        any: in_flight || queued,
        window_closed: queued && !in_flight,
        unanswered_probes,
        since_last_ack: Duration::from_millis(u64::from(word(LAST_ACK_RECV))),
    })
}
