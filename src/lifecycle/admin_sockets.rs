//! Where operators connect: the admin address and the admin socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use super::StartError;
use super::handed::Handed;
use crate::config::{AdminSocket, SocketAccess};
use crate::net::handover::{Good, Label, SocketPath};
use crate::net::{Listener, SocketFile, bind_unix};

/// Of the admin socket: whoever may open it is an operator.
const SOCKET_MODE: u32 = 0o660;

/// The listening sockets, kept apart from who accepts on them.
#[derive(Debug, Default)]
pub(super) struct AdminSockets {
    /// By the address that the configuration names.
    tcp: Option<(SocketAddr, TcpListener)>,
    unix: Option<(UnixListener, SocketFile)>,
    /// Files of the process whose place this one takes, of sockets that nobody here asks for.
    left: Vec<SocketFile>,
}

impl AdminSockets {
    /// Binds what the configuration asks for and was not handed over.
    pub(super) fn new(admin: &crate::config::Admin, handed: &mut Handed) -> Result<Self, StartError> {
        let tcp = match admin.listen {
            Some(address) => Some((address, handed.admin(address).map_or_else(|| bind_tcp(address), Ok)?)),
            None => None,
        };
        let unix = match &admin.socket {
            Some(socket) => match handed.admin_socket(&socket.path) {
                None => bind_socket(socket)?,
                had => had,
            },
            None => None,
        };
        Ok(Self { tcp, unix, left: handed.admin_files() })
    }

    /// Where the admin address really is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(_, socket)| socket.local_addr().ok())
    }

    /// Descriptors to accept on.
    pub(super) fn accepting(&self) -> io::Result<(Option<TcpListener>, Option<UnixListener>)> {
        let tcp = self.tcp.as_ref().map(|(_, socket)| socket.try_clone()).transpose()?;
        let unix = self.unix.as_ref().map(|(socket, _)| socket.try_clone()).transpose()?;
        Ok((tcp, unix))
    }

    /// Descriptors for the process that takes the place of this one.
    pub(super) fn goods(&self) -> io::Result<Vec<Good>> {
        let mut goods = Vec::new();
        if let Some((address, socket)) = &self.tcp {
            goods.push((Label::Admin(*address), socket.try_clone()?.into()));
        }
        if let Some((socket, file)) = &self.unix {
            let (path, made) = file.place();
            let place = SocketPath { path: path.to_owned(), file: Some(made) };
            goods.push((Label::AdminSocket(place), socket.try_clone()?.into()));
        }
        Ok(goods)
    }

    /// The place of the other process is taken: the file is ours, and what nobody needs any more goes.
    pub(super) fn settle(&mut self) {
        if let Some((_, file)) = &self.unix {
            file.belongs(true);
        }
        for file in self.left.drain(..) {
            file.belongs(true);
        }
    }

    /// Lets go of them: another process goes on with them.
    pub(super) fn leave(&mut self) {
        if let Some((_, file)) = &self.unix {
            file.belongs(false);
        }
        *self = Self::default();
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = Listener::bind(address, None, false).and_then(Listener::into_tcp);
    bound.map_err(|source| StartError::Admin { address, source: source.into() })
}

/// The admin socket. Nobody asked for the default one: that it cannot be had is no reason not to start.
fn bind_socket(socket: &AdminSocket) -> Result<Option<(UnixListener, SocketFile)>, StartError> {
    let access = SocketAccess { mode: SOCKET_MODE, ..SocketAccess::default() };
    match bind_unix(&socket.path, &access) {
        Ok(bound) => Ok(Some(bound)),
        Err(source) if socket.written => Err(StartError::Socket { path: socket.path.clone(), source }),
        Err(why) => {
            tracing::warn!(path = %socket.path.display(), why = %why, "no admin socket: `galeway node` and changes need it, \
                or a token over TCP; [admin] socket = \"\" turns it off");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_socket_that_nobody_asked_for_may_be_missing_and_one_that_was_asked_for_may_not() {
        let nowhere = |written| AdminSocket { path: PathBuf::from("/nonexistent/galeway/admin.sock"), written };
        assert!(bind_socket(&nowhere(false)).unwrap().is_none());
        let said = bind_socket(&nowhere(true)).unwrap_err().to_string();
        assert!(
            said.starts_with("[admin] cannot listen on unix:/nonexistent/galeway/admin.sock: there is no"),
            "{said}"
        );
    }
}
