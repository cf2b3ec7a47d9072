//! What a node is asked in a check.

use super::Kept;
use super::reading::read;
use crate::galera::observation::Check;
use crate::galera::rows::{STATUS_QUERY, VARIABLES_QUERY};
use crate::galera::server::{
    Channel, GROUP_QUERIES, NO_SUCH_COLUMN, NOT_UNDERSTOOD, SERVER_STATUS_QUERY, SERVER_VARIABLES_QUERY, ServerStatus,
    is_in_group, replication_queries,
};
use crate::galera::status::Rows;
use crate::mysql::{self, Connection};

async fn ask(connection: &mut Connection, queries: [&str; 2]) -> Result<Rows, mysql::Error> {
    let mut rows = Rows::new();
    for query in queries {
        let answer = connection.query(query).await?;
        rows.extend(answer.pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
    }
    Ok(rows)
}

pub(super) async fn ask_member(on: &mut Kept, relist: bool) -> Result<Check, mysql::Error> {
    let rows = ask(&mut on.connection, [STATUS_QUERY, &VARIABLES_QUERY]).await?;
    let members = on.listing.read(&mut on.connection, &rows, relist).await?;
    Ok(read(rows, members))
}

pub(super) async fn ask_server(connection: &mut Connection) -> Result<Check, mysql::Error> {
    let rows = ask(connection, [SERVER_STATUS_QUERY, SERVER_VARIABLES_QUERY]).await?;
    let version = rows.get("version").map_or("", String::as_str);
    let channels = ask_in_turn(connection, replication_queries(version), NOT_UNDERSTOOD).await?;
    let members = match is_in_group(&rows) {
        true => Some(ask_in_turn(connection, &GROUP_QUERIES, NO_SUCH_COLUMN).await?),
        false => None,
    };
    Ok(Check::Server(Box::new(ServerStatus::new(rows, channels, members))))
}

/// The rows of the first of these queries that the server does not answer with `unknown`, or its error: of rights, say; the
/// node answers, and that is what it says.
async fn ask_in_turn(
    connection: &mut Connection,
    queries: &[&str],
    unknown: u16,
) -> Result<Result<Vec<Channel>, String>, mysql::Error> {
    let mut said = String::new();
    for query in queries {
        match connection.query(query).await {
            Ok(answer) => return Ok(Ok(answer.named().collect())),
            Err(e) => match e.server_error().filter(|_| connection.is_usable()) {
                Some(error) if error.code == unknown => said = error.to_string(),
                Some(error) => return Ok(Err(error.to_string())),
                None => return Err(e),
            },
        }
    }
    Ok(Err(said))
}
