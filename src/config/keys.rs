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
    /// Sections below this one whose every key is still to come.
    pub(super) later_sections: &'static [(&'static str, &'static Section)],
}

impl Section {
    /// All keys of this section.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let sections = self.later_sections.iter().map(|(name, _)| *name);
        self.now.iter().copied().chain(self.later.iter().copied()).chain(sections)
    }
}

pub(super) static ROOT: Section =
    Section { header: "the file", now: &["cluster", "service", "admin", "process"], later: &[], later_sections: &[] };

pub(super) static CLUSTER: Section = Section {
    header: "[cluster.NAME]",
    now: &["nodes", "monitor", "eligibility", "sessions"],
    later: &["discover", "discover_interval", "discover_allow", "split_brain", "state_uuid"],
    later_sections: &[("writer", &WRITER)],
};

pub(super) static NODE: Section = Section {
    header: "a node",
    now: &["address", "name", "weight"],
    later: &["priority", "zone", "backup", "max_connections", "kind"],
    later_sections: &[],
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
    ],
    later: &["send_proxy_protocol"],
    later_sections: &[],
};

pub(super) static ELIGIBILITY: Section = Section {
    header: "[cluster.NAME.eligibility]",
    now: &["donor", "connection_margin"],
    later: &["max_recv_queue", "max_flow_control_paused", "max_replication_lag"],
    later_sections: &[],
};

pub(super) static WRITER: Section =
    Section { header: "[cluster.NAME.writer]", now: &[], later: &["failback", "agreement"], later_sections: &[] };

pub(super) static SESSIONS: Section = Section {
    header: "[cluster.NAME.sessions]",
    now: &["on_down", "on_donor", "drain_timeout"],
    later: &["on_demote", "kill_spread", "slow_start"],
    later_sections: &[],
};

pub(super) static SERVICE: Section = Section {
    header: "[service.NAME]",
    now: &[
        "accept",
        "cluster",
        "role",
        "balance",
        "protocol",
        "attempts",
        "connect_timeout",
        "greeting_timeout",
        "queue_timeout",
        "max_connections",
        "max_queue",
        "idle_timeout",
        "keepalive",
        "user_timeout",
        "stall_timeout",
        "half_close_timeout",
    ],
    later: &[
        "connect",
        "failover",
        "reader_includes_writer",
        "prefer_zone",
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
        "tls",
        "connect_tls",
    ],
    later_sections: &[],
};

pub(super) static ADMIN: Section =
    Section { header: "[admin]", now: &["listen"], later: &["socket", "token_file", "tls"], later_sections: &[] };

pub(super) static PROCESS: Section = Section {
    header: "[process]",
    now: &["workers", "log_level", "log_format", "access_log", "shutdown_timeout"],
    later: &["user", "group", "chroot", "pid_file", "log", "nameservers", "readiness_delay", "state_dir", "sandbox"],
    later_sections: &[],
};

/// All sections, for telling where a misplaced key belongs.
pub(super) static SECTIONS: &[&Section] =
    &[&ROOT, &CLUSTER, &NODE, &MONITOR, &ELIGIBILITY, &WRITER, &SESSIONS, &SERVICE, &ADMIN, &PROCESS];
