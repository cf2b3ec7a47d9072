//! Every key of the file, in one place: those that work, and those that a later version brings.
//!
//! The later ones are known so that nobody is told that a documented key does not exist, and so that none is
//! ignored. Bringing one means moving it from `later` to `now` and reading it in `schema`.

/// The keys of one kind of section.
pub(super) struct Section {
    /// The section as messages name it.
    pub(super) header: &'static str,
    /// Keys that are read.
    pub(super) now: &'static [&'static str],
    /// Keys that are refused as not supported yet.
    pub(super) later: &'static [&'static str],
}

impl Section {
    /// All keys of this section.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.now.iter().copied().chain(self.later.iter().copied())
    }
}

pub(super) static ROOT: Section =
    Section { header: "the file", now: &["cluster", "service", "admin", "process"], later: &[] };

pub(super) static CLUSTER: Section = Section {
    header: "[cluster.NAME]",
    now: &[
        "nodes",
        "monitor",
        "eligibility",
        "writer",
        "sessions",
        "discover",
        "discover_interval",
        "discover_allow",
        "split_brain",
        "state_uuid",
    ],
    later: &[],
};

pub(super) static NODE: Section = Section {
    header: "a node",
    now: &["address", "name", "weight", "priority", "zone", "backup", "max_connections", "kind"],
    later: &[],
};

pub(super) static MONITOR: Section = Section {
    header: "[cluster.NAME.monitor]",
    now: &[
        "kind",
        "user",
        "password",
        "password_file",
        "password_env",
        "interval",
        "fast_interval",
        "timeout",
        "rise",
        "fall",
        "down_after",
        "port",
        "tls",
        "ca",
        "cert",
        "key",
        "send_proxy_protocol",
    ],
    later: &[],
};

pub(super) static ELIGIBILITY: Section = Section {
    header: "[cluster.NAME.eligibility]",
    now: &["donor", "connection_margin", "max_recv_queue", "max_flow_control_paused", "max_replication_lag"],
    later: &[],
};

pub(super) static WRITER: Section = Section {
    header: "[cluster.NAME.writer]",
    now: &["failback", "donor_grace", "agreement", "user", "password", "password_file", "password_env"],
    later: &[],
};

pub(super) static SESSIONS: Section = Section {
    header: "[cluster.NAME.sessions]",
    now: &["on_down", "on_donor", "on_demote", "drain_timeout", "kill_spread", "slow_start"],
    later: &[],
};

pub(super) static SERVICE: Section = Section {
    header: "[service.NAME]",
    now: &[
        "accept",
        "cluster",
        "role",
        "reader_includes_writer",
        "connect",
        "failover",
        "balance",
        "prefer_zone",
        "protocol",
        "attempts",
        "connect_timeout",
        "greeting_timeout",
        "queue_timeout",
        "max_connections",
        "max_queue",
        "max_connections_per_source",
        "allow",
        "deny",
        "proxy_protocol",
        "proxy_protocol_from",
        "send_proxy_protocol",
        "first_byte_timeout",
        "source",
        "freebind",
        "socket_mode",
        "socket_owner",
        "idle_timeout",
        "keepalive",
        "user_timeout",
        "stall_timeout",
        "half_close_timeout",
        "tls",
        "connect_tls",
    ],
    later: &[],
};

pub(super) static TLS: Section = Section {
    header: "[service.NAME.tls]",
    now: &[
        "cert",
        "key",
        "passphrase_file",
        "client_ca",
        "client_auth",
        "verify",
        "peer_in_ca",
        "crl",
        "crl_scope",
        "allow_names",
        "allow_subjects",
        "pins",
        "cn_fallback",
        "min_version",
        "max_version",
        "cipher_suites",
        "groups",
        "max_handshakes",
        "resumption",
    ],
    later: &[],
};

pub(super) static CONNECT_TLS: Section = Section {
    header: "[service.NAME.connect_tls]",
    now: &[
        "ca",
        "verify",
        "server_name",
        "sni",
        "check_names",
        "peer_in_ca",
        "crl",
        "crl_scope",
        "allow_subjects",
        "pins",
        "cn_fallback",
        "cert",
        "key",
        "passphrase_file",
        "min_version",
        "max_version",
        "cipher_suites",
        "groups",
        "max_handshakes",
        "resumption",
    ],
    later: &[],
};

pub(super) static ADMIN: Section =
    Section { header: "[admin]", now: &["listen", "socket", "token_file"], later: &["tls"] };

pub(super) static PROCESS: Section = Section {
    header: "[process]",
    now: &[
        "workers",
        "nameservers",
        "state_dir",
        "user",
        "group",
        "chroot",
        "pid_file",
        "log",
        "log_level",
        "log_format",
        "access_log",
        "readiness_delay",
        "shutdown_timeout",
    ],
    later: &["sandbox"],
};

/// All sections, for telling where a misplaced key belongs.
pub(super) static SECTIONS: &[&Section] = &[
    &ROOT,
    &CLUSTER,
    &NODE,
    &MONITOR,
    &ELIGIBILITY,
    &WRITER,
    &SESSIONS,
    &SERVICE,
    &TLS,
    &CONNECT_TLS,
    &ADMIN,
    &PROCESS,
];
