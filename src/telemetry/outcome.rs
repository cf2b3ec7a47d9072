//! How attempts, sessions and clients end, in the words of metrics and the access log.

/// How an attempt to get a node's greeting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// The greeting came.
    Ok,
    /// Connection refused.
    Refused,
    /// No connect or no greeting within its time.
    Timeout,
    /// The connection ended before the greeting.
    Closed,
    /// An ERR packet in place of the greeting.
    ErrPacket,
    /// Bytes that are no MySQL greeting.
    Garbage,
    /// Another error of the network.
    Error,
    /// We had no descriptor, port, memory or turn for a TLS handshake.
    Local,
    /// The node's verdict changed meanwhile.
    Withdrawn,
    /// The client left meanwhile.
    ClientGone,
    /// Connected, and no TLS: the count of handshakes tells why.
    Tls,
}

impl AttemptResult {
    pub(super) const ALL: [Self; 11] = [
        Self::Ok,
        Self::Refused,
        Self::Timeout,
        Self::Closed,
        Self::ErrPacket,
        Self::Garbage,
        Self::Error,
        Self::Local,
        Self::Withdrawn,
        Self::ClientGone,
        Self::Tls,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::ErrPacket => "err_packet",
            Self::Garbage => "garbage",
            Self::Error => "error",
            Self::Local => "local",
            Self::Withdrawn => "withdrawn",
            Self::ClientGone => "client_gone",
            Self::Tls => "tls",
        }
    }
}

/// How a relayed session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Both sides came to their end, the client first.
    ClientClosed,
    /// The same, the node first.
    NodeClosed,
    /// The client's connection broke.
    ClientReset,
    /// The node's connection broke.
    NodeReset,
    /// The client vanished without a word.
    ClientVanished,
    /// The node vanished without a word.
    NodeVanished,
    /// The client's TLS ended without its close_notify: bytes may be missing.
    ClientTruncated,
    /// The node's TLS, likewise.
    NodeTruncated,
    /// The client's TLS failed in the middle: an alert, or bytes that are no record.
    ClientTls,
    /// The node's, likewise.
    NodeTls,
    /// A certificate expired or was revoked while its session went on.
    Certificate,
    /// The client's first packet was no login.
    NoLogin,
    /// The client lives and took nothing for `stall_timeout`.
    ClientStalled,
    /// The node lives and took nothing for `stall_timeout`.
    NodeStalled,
    /// `idle_timeout`.
    Idle,
    /// `half_close_timeout`.
    HalfClose,
    /// Ended at once by a verdict.
    Killed,
    /// Left over when a drain's time was up.
    Drained,
    /// The address that the client connected to has left this host.
    AddressLost,
    /// Galeway stops.
    Shutdown,
    /// A fault of ours ended this one session.
    Internal,
}

impl CloseReason {
    pub(super) const ALL: [Self; 21] = [
        Self::ClientClosed,
        Self::NodeClosed,
        Self::ClientReset,
        Self::NodeReset,
        Self::ClientVanished,
        Self::NodeVanished,
        Self::ClientTruncated,
        Self::NodeTruncated,
        Self::ClientTls,
        Self::NodeTls,
        Self::Certificate,
        Self::NoLogin,
        Self::ClientStalled,
        Self::NodeStalled,
        Self::Idle,
        Self::HalfClose,
        Self::Killed,
        Self::Drained,
        Self::AddressLost,
        Self::Shutdown,
        Self::Internal,
    ];

    /// The word of metrics and the access log.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::NodeClosed => "node_closed",
            Self::ClientReset => "client_reset",
            Self::NodeReset => "node_reset",
            Self::ClientVanished => "client_vanished",
            Self::NodeVanished => "node_vanished",
            Self::ClientTruncated => "client_truncated",
            Self::NodeTruncated => "node_truncated",
            Self::ClientTls => "client_tls_error",
            Self::NodeTls => "node_tls_error",
            Self::Certificate => "certificate_withdrawn",
            Self::NoLogin => "no_login",
            Self::ClientStalled => "client_stalled",
            Self::NodeStalled => "node_stalled",
            Self::Idle => "idle_timeout",
            Self::HalfClose => "half_close_timeout",
            Self::Killed => "killed",
            Self::Drained => "drained",
            Self::AddressLost => "address_lost",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal_error",
        }
    }

    /// Whose doing it was: `client`, `node` or `galeway`.
    pub fn whose(self) -> &'static str {
        match self {
            Self::ClientClosed
            | Self::ClientReset
            | Self::ClientVanished
            | Self::ClientStalled
            | Self::ClientTruncated
            | Self::ClientTls
            | Self::NoLogin => "client",
            Self::NodeClosed
            | Self::NodeReset
            | Self::NodeVanished
            | Self::NodeStalled
            | Self::NodeTruncated
            | Self::NodeTls => "node",
            Self::Certificate
            | Self::Idle
            | Self::HalfClose
            | Self::Killed
            | Self::Drained
            | Self::AddressLost
            | Self::Shutdown
            | Self::Internal => "galeway",
        }
    }
}

/// Why a client never reached a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// No node within `queue_timeout`.
    NoNode,
    /// `max_queue` clients wait already.
    QueueFull,
    /// `max_connections` sessions, and none ended within `queue_timeout`.
    TooManyConnections,
    /// Its address has `max_connections_per_source` clients already.
    TooManyOfSource,
    /// `allow`, `deny`, or a peer that may not send the PROXY header that is required.
    Denied,
    /// It sent no PROXY header, or none that can be read.
    BadHeader,
    /// The TLS handshake with it failed.
    Tls,
    /// It did not end its PROXY header and its TLS handshake within `first_byte_timeout`.
    SlowHeader,
    /// It left by itself.
    ClientGone,
    /// Its service is gone from the configuration.
    Retired,
    /// The address that it connected to has left this host.
    AddressLost,
    /// Galeway stops.
    Shutdown,
}

impl Rejection {
    pub(super) const ALL: [Self; 12] = [
        Self::NoNode,
        Self::QueueFull,
        Self::TooManyConnections,
        Self::TooManyOfSource,
        Self::Denied,
        Self::BadHeader,
        Self::Tls,
        Self::SlowHeader,
        Self::ClientGone,
        Self::Retired,
        Self::AddressLost,
        Self::Shutdown,
    ];

    /// Whose doing it was: `client` or `galeway`.
    pub fn whose(self) -> &'static str {
        match self {
            Self::ClientGone | Self::BadHeader | Self::Tls | Self::SlowHeader => "client",
            _ => "galeway",
        }
    }

    /// The word of metrics and the access log.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoNode => "no_node",
            Self::QueueFull => "queue_full",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyOfSource => "too_many_connections_of_source",
            Self::Denied => "denied",
            Self::BadHeader => "bad_proxy_header",
            Self::Tls => "tls_handshake",
            Self::SlowHeader => "first_byte_timeout",
            Self::ClientGone => "client_gone",
            Self::Retired => "service_gone",
            Self::AddressLost => "address_lost",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsResult {
    /// Both sides are content.
    Ok,
    /// We refuse the peer's certificate, or it showed none.
    Certificate,
    /// The peer refuses: an alert.
    Alert,
    /// The peer does not speak TLS.
    NotTls,
    /// No common version.
    Version,
    /// The connection ended in the middle.
    Closed,
    /// Not done within its time.
    Timeout,
    /// Anything else.
    Error,
}

impl TlsResult {
    pub(super) const ALL: [Self; 8] = [
        Self::Ok,
        Self::Certificate,
        Self::Alert,
        Self::NotTls,
        Self::Version,
        Self::Closed,
        Self::Timeout,
        Self::Error,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::NotTls => "not_tls",
            Self::Version => "version",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}
