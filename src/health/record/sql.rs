//! Statements about the record, and what servers answer to them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::galera::agreement::{Proposal, Reading, Row};
use crate::mysql::{Error, Rows};

/// What a session must not take over from the server's settings. `wsrep_sync_wait=1`: a read waits for what was committed
/// anywhere before it. The zone: the age of a row must not jump when clocks are put back. The limits: a statement that
/// nobody waits for any more must not wait itself.
pub(super) const SESSION: &str = "SET SESSION wsrep_sync_wait = 1, autocommit = 1, time_zone = '+00:00', \
     sql_mode = 'STRICT_ALL_TABLES', innodb_lock_wait_timeout = 5, lock_wait_timeout = 5";

/// `ER_LOCK_DEADLOCK`, which is how a failed certification ends, and `ER_DUP_ENTRY`.
const LOST: [u16; 2] = [1213, 1062];

pub(super) fn select(cluster: &str) -> String {
    format!(
        "SELECT epoch, node_uuid, node_name, TIMESTAMPDIFF(MICROSECOND, changed_at, NOW(6)) FROM galeway.writer \
         WHERE cluster_name = {}",
        text(cluster)
    )
}

/// Changes the row if it is still as it was read. One statement, and so one transaction: of two that change it on two
/// nodes one fails in certification.
pub(super) fn change(cluster: &str, proposal: &Proposal) -> String {
    let (cluster, uuid, name) = (text(cluster), text(&proposal.uuid), text(&proposal.name));
    match proposal.epoch {
        Some(epoch) => format!(
            "UPDATE galeway.writer SET epoch = epoch + 1, node_uuid = {uuid}, node_name = {name}, changed_at = NOW(6) \
             WHERE cluster_name = {cluster} AND epoch = {epoch}"
        ),
        None => format!(
            "INSERT INTO galeway.writer (cluster_name, epoch, node_uuid, node_name, changed_at) \
             VALUES ({cluster}, 1, {uuid}, {name}, NOW(6))"
        ),
    }
}

/// A text from outside as a literal in which nothing has a meaning, whatever the session's modes and character set.
fn text(value: &str) -> String {
    let mut literal = String::from("_utf8mb4 x'");
    for byte in value.bytes() {
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}

pub(super) fn reading(rows: &Rows) -> Reading {
    let Some(row) = rows.rows.first() else { return Reading::NoRow };
    let [Some(epoch), Some(uuid), Some(name), age] = row.as_slice() else {
        return Reading::Unreadable("its row is not as docs/agreement.md says".to_owned());
    };
    let Ok(epoch) = epoch.parse() else {
        return Reading::Unreadable(format!("its epoch is {epoch:?}"));
    };
    // Below zero where this node's clock is behind the one's that wrote it.
    let age = age.as_deref().and_then(|age| age.parse::<i64>().ok()).unwrap_or(0).max(0).unsigned_abs();
    let uuid = uuid.trim().to_ascii_lowercase().into();
    Reading::Row(Row { epoch, uuid, name: name.as_str().into(), age: Duration::from_micros(age) })
}

/// Whether another one was first.
pub(super) fn is_lost(e: &Error) -> bool {
    e.server_error().is_some_and(|e| LOST.contains(&e.code))
}

/// An error, and what to do about it.
pub(super) fn words(e: &Error, user: &str) -> String {
    match e.server_error() {
        Some(error) if error.is_missing() => {
            format!("{} {}: make the table as docs/agreement.md says", error.code, error.message)
        }
        Some(error) if error.is_denied() => {
            let (code, message) = (error.code, &error.message);
            format!("{code} {message}: make the table and give {user:?} its grants, see docs/agreement.md")
        }
        _ => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::galera::NodeId;

    fn rows(values: [Option<&str>; 4]) -> Rows {
        Rows { columns: Vec::new(), rows: vec![values.iter().map(|v| v.map(str::to_owned)).collect()] }
    }

    #[test]
    fn a_name_from_outside_cannot_leave_its_literal() {
        assert_eq!(text("n1"), "_utf8mb4 x'6E31'");
        assert_eq!(text("'; DROP"), "_utf8mb4 x'273B2044524F50'");
        assert_eq!(text("ö\0\\"), "_utf8mb4 x'C3B6005C'");
        let proposal = Proposal { epoch: Some(7), node: NodeId(0), uuid: "' OR 1=1".into(), name: "a'b".into() };
        let sql = change("c'd", &proposal);
        assert!(!sql.contains("OR 1=1") && !sql.contains("a'b") && !sql.contains("c'd"), "{sql}");
        assert!(sql.ends_with("AND epoch = 7"), "{sql}");
    }

    #[test]
    fn a_row_is_read_and_a_strange_one_is_not_believed() {
        let read = |values| reading(&rows(values));
        let row = |age| {
            let age = Duration::from_micros(age);
            Reading::Row(Row { epoch: 3, uuid: "ab-1".into(), name: "n1".into(), age })
        };
        assert_eq!(read([Some("3"), Some("AB-1"), Some("n1"), Some("1500")]), row(1500));
        assert_eq!(read([Some("3"), Some("AB-1 "), Some("n1"), Some("-1500")]), row(0), "a clock that is behind");
        assert_eq!(read([Some("3"), Some("ab-1"), Some("n1"), None]), row(0));
        assert!(matches!(read([Some("-3"), Some("ab-1"), Some("n1"), None]), Reading::Unreadable(_)));
        assert!(matches!(read([Some("3"), None, Some("n1"), None]), Reading::Unreadable(_)));
        assert_eq!(reading(&Rows::default()), Reading::NoRow);
    }
}
