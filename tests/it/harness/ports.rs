//! Free TCP ports that stay free: a killed node must get its own port back, minutes later.
//!
//! So they lie below the range from which the kernel takes ports for outgoing connections, in a block that this process
//! holds by listening on its first port: two test runs side by side take different blocks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

const BLOCK: u16 = 200;
const FIRST: u16 = 10_000;

struct Block {
    _held: TcpListener,
    next: u16,
    end: u16,
}

static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// A port on which nobody listens, on any address, and which is never given out again by this process.
pub fn free() -> u16 {
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(block) = blocks.last_mut() {
            while block.next < block.end {
                let port = block.next;
                block.next += 1;
                if is_free(port) {
                    return port;
                }
            }
        }
        let block = take_block();
        blocks.push(block);
    }
}

fn take_block() -> Block {
    let end = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768_u16)
        .max(FIRST + BLOCK);
    let count = (end - FIRST) / BLOCK;
    let offset = (std::process::id() % u32::from(count)) as u16;
    (0..count)
        .map(|i| FIRST + (offset + i) % count * BLOCK)
        .find_map(|first| Some(Block { _held: listen(first)?, next: first + 1, end: first + BLOCK }))
        .expect("no block of free ports below the ephemeral range")
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()
}

/// Bound, but not listened to: a child that another thread forks in this moment holds a copy of the socket until it executes
/// its program, and a copy that listened would refuse the port to whoever is given it.
fn is_free(port: u16) -> bool {
    let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, None) else { return false };
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    socket.set_reuse_address(true).is_ok() && socket.bind(&address.into()).is_ok()
}
