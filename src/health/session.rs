//! The settings of every session that Galeway itself opens on a server: the check's, and the record's.
//!
//! A session begins with the server's global settings, and `init_connect` may change them further (it runs for every
//! account without SUPER or CONNECTION_ADMIN). Several of them would make a check wrong or harmful:
//!
//! | setting | without the assignment |
//! |---|---|
//! | `autocommit = 0` | the first SELECT opens a transaction that lasts as long as the connection: InnoDB purges nothing that is newer, and the list of members never changes (both seen on MariaDB 10.11) |
//! | `wsrep_sync_wait` | SHOW and SELECT wait for the cluster; while a member is lost, or under FLUSH TABLES WITH READ LOCK, every check times out (bit 8 covers SHOW; seen on MariaDB 10.11) |
//! | `wsrep_dirty_reads` | `wsrep_sync_wait` has no effect on reads, so the record could be an old one (`wsrep_must_sync_wait` in MariaDB's sql/wsrep_mysqld.cc) |
//! | isolation, `tx_read_only` | a read-only default refuses the record's change; READ COMMITTED makes each statement read what is committed now |
//! | `sql_mode` | under NO_BACKSLASH_ESCAPES a backslash in a LIKE pattern is an ordinary character (MySQL manual, "Server SQL Modes") |
//! | `max_statement_time`, `max_execution_time` | the server ends a statement for which the check's own deadline would have waited |
//! | `lock_wait_timeout` | a check that gave up leaves a thread behind that waits for a metadata lock, by default for a day or a year |
//! | `sql_select_limit`, `sql_big_selects` | the list of members is cut short, or refused because of `max_join_size` |
//! | `character_set_results` | names arrive in another character set than they are read in |

use crate::mysql::{Connection, Error};

/// Variables of every product.
const COMMON: [(&str, &str); 6] = [
    ("autocommit", "1"),
    ("sql_mode", "''"),
    ("lock_wait_timeout", "1"),
    ("sql_select_limit", "18446744073709551615"),
    ("sql_big_selects", "1"),
    ("character_set_results", "utf8mb4"),
];

/// Variables of Galera. MariaDB knows them without a provider too, unless it was built without wsrep.
const GALERA: [(&str, &str); 2] = [("wsrep_sync_wait", "0"), ("wsrep_dirty_reads", "0")];

/// MariaDB's names. `tx_isolation` is the older name of `transaction_isolation`, which only MariaDB 11.1 introduced.
const MARIADB: [(&str, &str); 3] =
    [("tx_isolation", "'READ-COMMITTED'"), ("tx_read_only", "0"), ("max_statement_time", "0")];

/// MySQL's names, since 5.7.20.
const MYSQL: [(&str, &str); 3] =
    [("transaction_isolation", "'READ-COMMITTED'"), ("transaction_read_only", "0"), ("max_execution_time", "0")];

/// The names that MySQL 5.7 had before, for servers that do not know the newer ones.
const MYSQL_OLD: [(&str, &str); 2] = [("tx_isolation", "'READ-COMMITTED'"), ("tx_read_only", "0")];

/// `ER_UNKNOWN_SYSTEM_VARIABLE`, `ER_SPECIFIC_ACCESS_DENIED_ERROR`, `ER_GLOBAL_VARIABLE`, `ER_WRONG_VALUE_FOR_VAR`,
/// `ER_WRONG_TYPE_FOR_VAR`, `ER_INCORRECT_GLOBAL_LOCAL_VAR`: this server does not take one of the assignments.
const NOT_TAKEN: [u16; 6] = [1193, 1227, 1229, 1231, 1232, 1238];

/// Gives a session that has just logged in its settings. `galera`: the server is expected to know Galera's variables.
///
/// One statement where the server knows all of them. A statement that names an unknown variable changes nothing at all
/// (MySQL manual, "SET Syntax for Variable Assignment"), so then each assignment is made by itself and those that the
/// server does not take are left out. Any other ERR packet is the business of the question that follows; it is returned for the case
/// that the server hangs up before that, as MariaDB does after an `init_connect` that failed (1184).
pub(super) async fn prepare(connection: &mut Connection, galera: bool) -> Result<Option<Error>, Error> {
    let mariadb = connection.is_mariadb();
    let own = if mariadb { &MARIADB } else { &MYSQL };
    let wsrep = if galera || mariadb { &GALERA[..] } else { &[] };
    let assignments: Vec<_> = COMMON.iter().chain(own).chain(wsrep).collect();
    let list: Vec<String> = assignments.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    match set(connection, &list.join(", ")).await? {
        Answer::NotTaken => {}
        Answer::Done => return Ok(None),
        Answer::Objection(e) => return Ok(Some(e)),
    }
    let old = if mariadb { &[][..] } else { &MYSQL_OLD };
    for (name, value) in assignments.into_iter().chain(old) {
        set(connection, &format!("{name} = {value}")).await?;
    }
    Ok(None)
}

/// A server's answer to an assignment.
enum Answer {
    Done,
    /// It does not take it as it is.
    NotTaken,
    /// An error that is not about the assignment.
    Objection(Error),
}

async fn set(connection: &mut Connection, assignments: &str) -> Result<Answer, Error> {
    match connection.query(&format!("SET SESSION {assignments}")).await {
        Ok(_) => Ok(Answer::Done),
        Err(e) => match e.server_error().map(|said| said.code) {
            Some(code) if connection.is_usable() && NOT_TAKEN.contains(&code) => Ok(Answer::NotTaken),
            Some(_) if connection.is_usable() => Ok(Answer::Objection(e)),
            _ => Err(e),
        },
    }
}
