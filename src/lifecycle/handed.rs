//! What the process whose place this one takes has handed over, until somebody asks for it.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::PidFile;
use crate::net::handover::{Address, Good, Label, SocketPath};
use crate::net::{Listeners, SocketFile};

/// Nothing, for a process that takes nobody's place.
#[derive(Debug, Default)]
pub struct Handed {
    services: Vec<(Address, OwnedFd)>,
    admin: Vec<(SocketAddr, TcpListener)>,
    admin_sockets: Vec<(SocketPath, UnixListener)>,
    pid_files: Vec<PidFile>,
    /// Another process serves until this one does.
    anothers: bool,
}

impl Handed {
    /// By what each of them is.
    pub(super) fn new(goods: Vec<Good>) -> Self {
        let mut handed = Self { anothers: true, ..Self::default() };
        for (label, fd) in goods {
            match label {
                Label::Service(address) => handed.services.push((address, fd)),
                Label::Admin(address) => handed.admin.push((address, fd.into())),
                Label::AdminSocket(place) => handed.admin_sockets.push((place, fd.into())),
                Label::PidFile(path) => handed.pid_files.push(PidFile::of_another(path, File::from(fd))),
            }
        }
        handed
    }

    /// Whether another process serves until this one does.
    pub(super) fn is_from_another(&self) -> bool {
        self.anothers
    }

    /// The pid file of this path. Another one is to be removed once the place is taken: see [`PidFile::write`].
    pub fn pid_file(&mut self, path: Option<&Path>) -> (Option<PidFile>, Vec<PidFile>) {
        let (mut wanted, left): (Vec<_>, Vec<_>) =
            self.pid_files.drain(..).partition(|file| path.is_some_and(|path| file.is_of(path)));
        (wanted.pop(), left)
    }

    /// The services' sockets.
    pub(super) fn services(&mut self, listeners: &mut Listeners) -> io::Result<()> {
        self.services.drain(..).try_for_each(|(address, socket)| listeners.hand(&address, socket))
    }

    pub(super) fn admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.admin.iter().position(|(had, _)| *had == address)?;
        Some(self.admin.swap_remove(at).1)
    }

    pub(super) fn admin_socket(&mut self, path: &Path) -> Option<(UnixListener, SocketFile)> {
        let at = self.admin_sockets.iter().position(|(place, _)| place.path == path && place.file.is_some())?;
        let (place, socket) = self.admin_sockets.swap_remove(at);
        Some((socket, SocketFile::of_another(place.path, place.file?)))
    }

    /// Files of admin sockets that nobody has asked for.
    pub(super) fn admin_files(&mut self) -> Vec<SocketFile> {
        let left = self.admin_sockets.drain(..);
        left.filter_map(|(place, _)| Some(SocketFile::of_another(place.path, place.file?))).collect()
    }
}
