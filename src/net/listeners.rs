//! The listening sockets of an instance: bound, shared with another instance, or had from whoever was there before.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handover::{Address, Good, Label};
use super::inherited::Inherited;
use super::listener::{Binding, ListenError, Listener};
use crate::config::Listen;

/// The listening sockets of an instance, by the address that was asked for.
#[derive(Debug, Default)]
pub struct Listeners {
    held: BTreeMap<Listen, Vec<Arc<Listener>>>,
    /// Held by another instance as well; taken from here instead of being bound.
    shared: BTreeMap<Listen, Vec<Arc<Listener>>>,
    inherited: Inherited,
    /// Of the process whose place this one takes, likewise.
    handed: BTreeMap<Listen, Vec<Listener>>,
    /// How long an address in use is waited for.
    patience: Duration,
}

/// An address that this very process has just let go of is free once the last worker has stopped accepting there.
const LETTING_GO: Duration = Duration::from_secs(1);

/// How often it is tried again.
const AGAIN: Duration = Duration::from_millis(10);

impl Listeners {
    /// None yet, but those that were inherited.
    pub fn new(inherited: Inherited) -> Self {
        Self { inherited, ..Self::default() }
    }

    /// Takes the sockets of the process whose place this one takes where the same address is asked for.
    pub fn hand(&mut self, address: &Address, socket: OwnedFd) -> io::Result<()> {
        let listener = Listener::adopt(socket, address)?;
        match address.listen() {
            // Kept, whether or not anybody asks for it: whoever bound it will not do so again.
            Listen::Inherited(name) => self.inherited.add(&name, listener.into_bound()),
            listen => self.handed.entry(listen).or_default().push(listener),
        }
        Ok(())
    }

    /// The place of the other process is taken: what it had and nobody here asks for is closed, and all else is ours.
    pub fn settle(&mut self) {
        let handed = std::mem::take(&mut self.handed);
        let files = handed.values().flatten().filter_map(Listener::file);
        files.for_each(|file| file.belongs(true));
        self.belong(true);
    }

    /// Says whether the files of the sockets are this process's to remove.
    pub fn belong(&self, ours: bool) {
        let files = self.held.values().flatten().filter_map(|listener| listener.file());
        files.for_each(|file| file.belongs(ours));
    }

    /// All of them, for the process that takes the place of this one.
    pub fn goods(&self) -> io::Result<Vec<Good>> {
        let held = self.held.iter().flat_map(|(asked, all)| all.iter().map(|listener| listener.good(asked)));
        let idle = self
            .inherited
            .idle()
            .map(|(name, socket)| Ok((Label::Service(Address::Inherited(name.to_owned())), socket.copy()?)));
        held.chain(idle).collect()
    }

    /// Takes the sockets that another instance holds where the same address is asked for.
    pub fn share(&mut self, other: &Self) {
        self.shared.clone_from(&other.held);
        self.after_others();
    }

    /// This process has listened before: an address in use may be one that it is about to close, and is waited for, a second at
    /// most.
    pub fn after_others(&mut self) {
        self.patience = LETTING_GO;
    }

    /// The sockets of an address; bound now, if they are not held yet. Each use of port 0 is a socket of its own, which is
    /// then held under the port that the kernel picked. Of an inherited name there may be several.
    pub fn get(&mut self, listen: &Listen, binding: Binding<'_>) -> Result<Vec<Arc<Listener>>, ListenError> {
        if let Some(held) = self.held.get(listen) {
            return Ok(held.clone());
        }
        if let Some(shared) = self.shared.remove(listen) {
            for listener in &shared {
                // A socket that cannot be tuned accepts all the same.
                let _ = listener.keep_alive(binding.keepalive);
            }
            self.held.insert(listen.clone(), shared.clone());
            return Ok(shared);
        }
        let bound = match listen {
            Listen::Tcp(_) | Listen::Unix(_) if self.handed.contains_key(listen) => {
                let handed = self.handed.remove(listen).unwrap_or_default();
                for listener in &handed {
                    let _ = listener.keep_alive(binding.keepalive);
                }
                handed
            }
            Listen::Tcp(address) => vec![self.bind(*address, binding)?],
            Listen::Unix(path) => vec![Listener::bind_unix(listen, path, binding.access)?],
            Listen::Inherited(name) => self.inherited.take(name, binding.keepalive)?,
        };
        let bound: Vec<Arc<Listener>> = bound.into_iter().map(Arc::new).collect();
        let key = match (listen, bound.first()) {
            (Listen::Tcp(address), Some(first)) if address.port() == 0 => first.local().clone(),
            _ => listen.clone(),
        };
        self.held.insert(key, bound.clone());
        Ok(bound)
    }

    fn bind(&self, address: SocketAddr, binding: Binding<'_>) -> io::Result<Listener> {
        let until = Instant::now() + self.patience;
        loop {
            match Listener::bind(address, binding.keepalive, binding.freebind) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => std::thread::sleep(AGAIN),
                bound => return bound,
            }
        }
    }

    /// Nobody accepts there any more: the socket closes once whoever holds it lets go as well. But an inherited one stays: whoever
    /// bound it will not do so again for a service that asks for it later.
    pub fn let_go(&mut self, listener: &Arc<Listener>) {
        self.held.retain(|listen, held| {
            held.retain(|one| matches!(listen, Listen::Inherited(_)) || !Arc::ptr_eq(one, listener));
            !held.is_empty()
        });
    }

    /// Names of inherited sockets that no service accepts on.
    pub fn unclaimed(&self) -> Vec<&str> {
        self.inherited.left()
    }

    /// What the other instance holds and nobody here has asked for is its own alone from now on.
    pub fn unshare(&mut self) {
        self.shared.clear();
    }

    /// Lets go of all of them. A socket closes when the last worker that accepts on it has stopped.
    pub fn release(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::listener::Bound;
    use super::*;

    #[test]
    fn an_address_that_is_being_let_go_of_is_waited_for_and_only_by_who_has_listened_before() {
        let access = crate::config::SocketAccess::default();
        let binding = Binding { keepalive: None, freebind: false, access: &access };
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::Tcp(held.local_addr().unwrap());
        assert!(Listeners::default().get(&listen, binding).is_err(), "at the start it is somebody else's");
        let mut listeners = Listeners::default();
        listeners.after_others();
        let closes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        assert!(listeners.get(&listen, binding).is_ok());
        closes.join().unwrap();
    }

    #[test]
    fn an_inherited_socket_that_was_let_go_of_can_be_had_again_and_no_other() {
        let socket = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut inherited = Inherited::default();
        inherited.add("front", Bound::Tcp(socket()));
        let mut listeners = Listeners::new(inherited);
        let binding = Binding { keepalive: None, freebind: false, access: &crate::config::SocketAccess::default() };
        let port = socket().local_addr().unwrap();
        for listen in [Listen::Inherited("front".into()), Listen::Tcp(port)] {
            let first = listeners.get(&listen, binding).unwrap();
            first.iter().for_each(|one| listeners.let_go(one));
            let stays = matches!(listen, Listen::Inherited(_));
            assert_eq!(listeners.held.contains_key(&listen), stays);
            let at = first.first().unwrap().local().clone();
            drop(first);
            assert_eq!(*listeners.get(&listen, binding).unwrap().first().unwrap().local(), at);
        }
    }
}
