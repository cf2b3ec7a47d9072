//! The list of a component's members, `mysql.wsrep_cluster_members`, as one check connection reads it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::galera::status::{MEMBERS_QUERY, Rows};
use crate::galera::{Listed, Members};
use crate::mysql::{Connection, Error};

/// A table that could not be read is tried again after this time: the grant may have been given since.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What makes a view another one.
type View = [Option<String>; 4];

/// What was read last on this connection.
#[derive(Debug, Default)]
pub(super) struct Listing {
    of: Option<View>,
    members: Option<Members>,
    /// The server does not let this account read the table, or has none (Galera 3).
    refused: Option<Instant>,
}

impl Listing {
    /// The members of the node's component; `None` where they cannot be read. Read again when the rows, which were read
    /// before, tell of another view: the table changes some milliseconds before they do (seen), so it is never older. A
    /// node that is not Primary still holds its last Primary view in the table (seen): it is not asked.
    pub(super) async fn read(
        &mut self,
        connection: &mut Connection,
        rows: &Rows,
        relist: bool,
    ) -> Result<Option<Members>, Error> {
        let row = |name: &str| rows.get(name).cloned();
        if row("wsrep_cluster_status").as_deref() != Some("Primary") {
            *self = Self { refused: self.refused, ..Self::default() };
            return Ok(None);
        }
        let view = [
            row("wsrep_cluster_size"),
            row("wsrep_cluster_conf_id"),
            row("wsrep_gcomm_uuid"),
            row("wsrep_cluster_state_uuid"),
        ];
        let same = self.of.as_ref() == Some(&view);
        let hopeless = self.refused.is_some_and(|at| at.elapsed() < TRY_AGAIN);
        if hopeless || same && !relist {
            return Ok(self.members.clone());
        }
        match connection.query(MEMBERS_QUERY).await {
            Ok(answer) => {
                let listed =
                    |(uuid, name): (&str, &str)| Listed { uuid: uuid.to_ascii_lowercase().into(), name: name.into() };
                let members: Members = answer.pairs().map(listed).collect();
                // A list of other members than the status counts is of a view in between: it is read again.
                let whole = rows.get("wsrep_cluster_size").and_then(|n| n.parse().ok()) == Some(members.len());
                self.of = whole.then_some(view);
                self.members = Some(Arc::clone(&members));
                self.refused = None;
            }
            Err(e) if e.is_of_the_table() && connection.is_usable() => {
                *self = Self { refused: Some(Instant::now()), ..Self::default() };
            }
            // 1047 of a server that rejects queries (`wsrep_reject_queries`; MariaDB 10.11 answers all the same: seen), or a
            // statement that was killed: it is asked again at the next check, and the list of this very view still holds.
            // Without it one such node would make the whole cluster's membership weak.
            Err(e) if leaves_session(&e) && connection.is_usable() => {
                if !same {
                    *self = Self::default();
                }
            }
            Err(e) => return Err(e),
        }
        Ok(self.members.clone())
    }
}

fn leaves_session(error: &Error) -> bool {
    error.server_error().is_some_and(|said| said.meaning().leaves_session())
}
