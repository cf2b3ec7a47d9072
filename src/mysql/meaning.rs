//! What a server's error code says when it answers a connection, a login or a check's query.
//!
//! Sources: MySQL "Server Error Message Reference" (5.7 to 9.7) and MariaDB "MariaDB Error Code Reference"; the names and
//! numbers were compared with `perror` of MySQL 9.7.4 and MariaDB 10.11.19. The two products share the numbers below 1900;
//! above, one number may mean two things, of which only one ever answers a login.
//!
//! Only what the table calls the account's is the account's. Every other code is the node's own word, unknown ones too:
//! the check is the first client of a server, and what refuses it for a reason that is not known refuses the others for
//! the same one. The other default (an unknown code is a matter of accounts) sent every client to a server that had told
//! why it serves none.

/// What a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The account, its password, its rights or its way of connecting is refused; the node itself may be well.
    Account,
    /// There is no way in for now: connections or a quota are used up, or our host is blocked.
    CannotGetIn,
    /// The server is well and was taken away from its clients on purpose.
    Offline,
    /// The session is over, not the server: a new connection tells what is true.
    SessionOver,
    /// The server is on its way down. It may also be what a session hears that was killed (MySQL).
    GoingDown,
    /// The server cannot serve, now or at all.
    CannotServe,
    /// The server did not understand what it got.
    Protocol,
    /// No code of this table: the node's own word, as it stands.
    Unknown,
}

/// The table.
const CODES: &[(Meaning, &[(u16, &str)])] = &[
    (
        Meaning::Account,
        &[
            (1044, "ER_DBACCESS_DENIED_ERROR"),
            (1045, "ER_ACCESS_DENIED_ERROR"),
            (1130, "ER_HOST_NOT_PRIVILEGED"),
            (1142, "ER_TABLEACCESS_DENIED_ERROR"),
            (1143, "ER_COLUMNACCESS_DENIED_ERROR"),
            (1227, "ER_SPECIFIC_ACCESS_DENIED_ERROR"),
            // The account's authentication plugin is one that client or server does not have.
            (1251, "ER_NOT_SUPPORTED_AUTH_MODE"),
            (1275, "ER_SERVER_IS_IN_SECURE_AUTH_MODE"),
            (1524, "ER_PLUGIN_IS_NOT_LOADED"),
            (1698, "ER_ACCESS_DENIED_NO_PASSWORD_ERROR"),
            (1820, "ER_MUST_CHANGE_PASSWORD"),
            (1862, "ER_MUST_CHANGE_PASSWORD_LOGIN"),
            (1873, "ER_ACCESS_DENIED_CHANGE_USER_ERROR"),
            (3118, "ER_ACCOUNT_HAS_BEEN_LOCKED (MySQL)"),
            (3159, "ER_SECURE_TRANSPORT_REQUIRED (MySQL)"),
            (3955, "ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK (MySQL)"),
            (4055, "ER_PLUGIN_REQUIRES_REGISTRATION (MySQL)"),
            (4150, "ER_USER_IS_BLOCKED (MariaDB)"),
            (4151, "ER_ACCOUNT_HAS_BEEN_LOCKED (MariaDB)"),
            (6126, "ER_ACCESS_DENIED_NO_PROXY_GRANT (MySQL)"),
            (6127, "ER_ACCESS_DENIED_NO_PROXY (MySQL)"),
        ],
    ),
    (
        Meaning::CannotGetIn,
        &[
            (1040, "ER_CON_COUNT_ERROR"),
            (1129, "ER_HOST_IS_BLOCKED"),
            (1203, "ER_TOO_MANY_USER_CONNECTIONS"),
            (1226, "ER_USER_LIMIT_REACHED"),
        ],
    ),
    (
        Meaning::Offline,
        &[
            (3032, "ER_SERVER_OFFLINE_MODE"),
            (6400, "ER_SERVER_OFFLINE_MODE_REASON (MySQL 9)"),
            (6401, "ER_SERVER_OFFLINE_MODE_USER (MySQL 9)"),
        ],
    ),
    (
        Meaning::SessionOver,
        &[
            (1152, "ER_ABORTING_CONNECTION"),
            // The server waited for us, or could not reach us.
            (1158, "ER_NET_READ_ERROR"),
            (1159, "ER_NET_READ_INTERRUPTED"),
            (1160, "ER_NET_ERROR_ON_WRITE"),
            (1161, "ER_NET_WRITE_INTERRUPTED"),
            (1184, "ER_NEW_ABORTING_CONNECTION"),
            (1927, "ER_CONNECTION_KILLED (MariaDB)"),
            (3169, "ER_SESSION_WAS_KILLED (MySQL)"),
            (4031, "ER_CLIENT_INTERACTION_TIMEOUT (MySQL)"),
            (4081, "ER_DA_GLOBAL_CONN_LIMIT (MySQL)"),
            (4082, "ER_DA_CONN_LIMIT (MySQL)"),
        ],
    ),
    (
        Meaning::GoingDown,
        &[
            (1053, "ER_SERVER_SHUTDOWN"),
            (1077, "ER_NORMAL_SHUTDOWN"),
            (1079, "ER_SHUTDOWN_COMPLETE"),
            (1080, "ER_FORCING_CLOSE"),
        ],
    ),
    (
        Meaning::CannotServe,
        &[
            (1037, "ER_OUTOFMEMORY"),
            (1038, "ER_OUT_OF_SORTMEMORY"),
            (1041, "ER_OUT_OF_RESOURCES"),
            // Galera's "not ready".
            (1047, "ER_UNKNOWN_COM_ERROR"),
            (1105, "ER_UNKNOWN_ERROR"),
            (1119, "ER_STACK_OVERRUN"),
            (1135, "ER_CANT_CREATE_THREAD"),
            (1290, "ER_OPTION_PREVENTS_STATEMENT"),
            (1436, "ER_STACK_OVERRUN_NEED_MORE"),
            (3168, "ER_SERVER_ISNT_AVAILABLE (MySQL)"),
        ],
    ),
    (
        Meaning::Protocol,
        &[
            (1043, "ER_HANDSHAKE_ERROR"),
            (1153, "ER_NET_PACKET_TOO_LARGE"),
            (1154, "ER_NET_READ_ERROR_FROM_PIPE"),
            (1155, "ER_NET_FCNTL_ERROR"),
            (1156, "ER_NET_PACKETS_OUT_OF_ORDER"),
            (1157, "ER_NET_UNCOMPRESS_ERROR"),
        ],
    ),
];

impl Meaning {
    pub(super) fn of(code: u16) -> Self {
        let holds = |codes: &[(u16, &str)]| codes.iter().any(|(known, _)| *known == code);
        CODES.iter().find(|(_, codes)| holds(codes)).map_or(Self::Unknown, |(meaning, _)| *meaning)
    }

    /// A session that was answered so is as good as before. What is held against its account, or against the session
    /// itself, is held against it until its end.
    pub fn leaves_session(self) -> bool {
        matches!(self, Self::CannotServe | Self::Protocol | Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_has_two_meanings() {
        let mut codes: Vec<u16> = CODES.iter().flat_map(|(_, codes)| codes.iter().map(|(code, _)| *code)).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn what_the_table_does_not_name_is_no_matter_of_the_account() {
        for code in (0..=u16::MAX).filter(|code| !CODES.iter().any(|(_, codes)| codes.iter().any(|(c, _)| c == code))) {
            assert_eq!(Meaning::of(code), Meaning::Unknown, "{code}");
        }
        assert_eq!(Meaning::of(3032), Meaning::Offline);
        assert_eq!(Meaning::of(1045), Meaning::Account);
    }
}
