//! What stands in the files behind a service's TLS.

use crate::config::{Service, TlsAccept};
use crate::net::tls::{Acceptor, Connector, Policy};

/// Of both sides of one service; `None` = in clear.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) accept: Option<Policy>,
    pub(super) connect: Option<Policy>,
}

impl Facts {
    /// Reads the files, as the service would at its start.
    ///
    /// # Errors
    /// Why it would not start, each with the key and the file.
    pub(super) fn of(service: &Service) -> Result<Self, Vec<String>> {
        let accept = service.tls.as_deref().map(of_accept).transpose();
        let connect = service.connect_tls.as_deref().map(|tls| match Connector::new(tls) {
            Ok(connector) => Ok(connector.describe()),
            Err(e) => Err(format!("{}: {e}", tls.peer.dialect.side("connect_tls"))),
        });
        match (accept, connect.transpose()) {
            (Ok(accept), Ok(connect)) => Ok(Self { accept, connect }),
            (accept, connect) => Err([accept.err(), connect.err()].into_iter().flatten().collect()),
        }
    }
}

/// The same of an accepting side alone.
pub(super) fn of_accept(tls: &TlsAccept) -> Result<Policy, String> {
    Acceptor::new(tls).map(|acceptor| acceptor.describe()).map_err(|e| format!("{}: {e}", tls.peer.dialect.side("tls")))
}
