//! The record of the writer that several balancers share, `galeway.writer`: read all the time, changed when the core
//! proposes it. What it means is decided in `galera`; here is how it is reached.
//!
//! Two loops with a connection each. A change may wait as long as Galera waits for a dead member, and nobody may stay
//! blind to what other balancers write meanwhile.
//!
//! Both use nodes of the component that is served and no others: a fenced side holds another record.

mod sql;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::deadline::within;
use super::probe::LAG_TOLERATED;
use super::rules::Rules;
use super::seen::error_of;
use super::watch::ClusterWatch;
use crate::config::RecordLogin;
use crate::galera::NodeId;
use crate::galera::agreement::{Proposal, Reading};
use crate::galera::observation::Check;
use crate::mysql::{Connection, Error};
use crate::telemetry::Seldom;

/// After a refused login: hammering locks accounts.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest back-off.
const BACK_OFF_MOST: Duration = Duration::from_secs(60);

/// A commit waits until Galera has given up a dead member, which takes it 5 to 6 s. One that was given up here would be
/// made all the same.
const COMMIT_TIME: Duration = Duration::from_secs(10);

/// At most one warning in this time about a record that cannot be read, or not be written.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// Keeps one cluster's record for as long as the process lives.
pub(super) async fn run(watch: Arc<ClusterWatch>) {
    let desk = Desk {
        watch,
        journal: Mutex::new(Journal {
            handed_over: Instant::now(),
            epoch: None,
            own: None,
            trouble: false,
            warning: Seldom::new(WARNING_EVERY),
        }),
        read_now: Notify::new(),
    };
    tokio::join!(desk.read_on(), desk.write_on());
}

/// What the two loops share.
struct Desk {
    watch: Arc<ClusterWatch>,
    journal: Mutex<Journal>,
    read_now: Notify,
}

/// What was read last, so that news is told once.
struct Journal {
    handed_over: Instant,
    epoch: Option<u64>,
    /// The epoch and the writer of our own last change.
    own: Option<(u64, Box<str>)>,
    /// It could not be read last time.
    trouble: bool,
    warning: Seldom,
}

/// A connection on which the record is read or written.
struct Session {
    connection: Connection,
    node: NodeId,
}

/// Why a reading brought nothing.
enum Failure {
    /// No node serves, and so there is none to ask.
    Nobody,
    /// The account; another node would say the same, and being asked too often would lock it.
    Refused(String),
    /// Anything else.
    Other(String),
}

impl Desk {
    async fn read_on(&self) {
        let mut session = None;
        // Rises with each failure: whose turn it is.
        let mut turn = 0;
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let begun = Instant::now();
            let rules = self.watch.rules();
            let mut snapshots = self.watch.pool().subscribe();
            let timeout = rules.config.monitor.timeout;
            let read = match within(timeout, self.read_somewhere(&rules, &mut session, &mut turn)).await {
                Ok(read) => Some(read),
                Err(missed) => {
                    session = None;
                    let node = self.nodes().get(turn.checked_rem(self.nodes().len()).unwrap_or(0)).copied();
                    turn = turn.wrapping_add(1);
                    // Where this process did not run, nothing is known of anybody.
                    let ours = missed.lag >= timeout / LAG_TOLERATED;
                    let who = node.map_or_else(String::new, |id| format!(" from {}", self.name(id)));
                    (!ours).then(|| Err(Failure::Other(format!("no answer{who} within {timeout:?}"))))
                }
            };
            let mut next = begun + rules.config.monitor.interval;
            let mut nobody = false;
            match read {
                None => {}
                Some(Ok(reading)) => {
                    back_off = BACK_OFF_FIRST;
                    self.hand_over(reading, begun, true);
                }
                Some(Err(Failure::Other(why))) => self.hand_over(Reading::Unreadable(why), begun, true),
                Some(Err(Failure::Refused(why))) => {
                    self.hand_over(Reading::Unreadable(why), begun, true);
                    next = next.max(Instant::now() + back_off);
                    back_off = (back_off * 2).min(BACK_OFF_MOST);
                }
                Some(Err(Failure::Nobody)) => {
                    nobody = true;
                    let why = "no node serves through which it could be read".to_owned();
                    // Said already, and louder, by the verdicts.
                    self.hand_over(Reading::Unreadable(why), begun, false);
                }
            }
            // The first node that serves is asked at once: until then there is no writer.
            let somebody = async {
                if !nobody {
                    std::future::pending::<()>().await;
                }
                let _ = snapshots.changed().await;
                sleep_until(begun + rules.config.monitor.fast_interval).await;
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = somebody => {}
                () = self.read_now.notified() => {}
            }
        }
    }

    /// Reads on the kept connection, or on a new one to the node whose turn it is. What fails fast is tried on the next
    /// node within the same deadline.
    async fn read_somewhere(
        &self,
        rules: &Rules,
        kept: &mut Option<Session>,
        turn: &mut usize,
    ) -> Result<Reading, Failure> {
        let mut failure = Failure::Nobody;
        for _ in 0..self.nodes().len().max(1) {
            let nodes = self.nodes();
            // Where nothing has failed yet there is a better one than the last.
            let worst = nodes.last().filter(|_| nodes.len() > 1 && turn.is_multiple_of(nodes.len()));
            if let Some(left) = kept.take_if(|s| !nodes.contains(&s.node) || worst == Some(&s.node)) {
                let timeout = rules.config.monitor.timeout;
                tokio::spawn(async move { within(timeout, left.connection.quit()).await });
            }
            let Some(&node) = turn.checked_rem(nodes.len()).and_then(|i| nodes.get(i)) else { break };
            let mut session = match kept.take() {
                Some(session) => session,
                None => match self.log_in(rules, node).await {
                    Ok(session) => session,
                    Err(refused @ Failure::Refused(_)) => {
                        *turn = turn.wrapping_add(1);
                        return Err(refused);
                    }
                    Err(other) => {
                        *turn = turn.wrapping_add(1);
                        failure = other;
                        continue;
                    }
                },
            };
            match self.read(&mut session).await {
                Ok(reading) => {
                    *kept = Some(session);
                    return Ok(reading);
                }
                // Every node would say so, and none of them is at fault.
                Err(e) if e.is_of_the_table() && session.connection.is_usable() => {
                    *kept = Some(session);
                    return Err(Failure::Other(sql::words(&e, &self.user(rules))));
                }
                Err(e) => {
                    *turn = turn.wrapping_add(1);
                    failure = Failure::Other(format!("{}: {e}", self.name(node)));
                }
            }
        }
        Err(failure)
    }

    async fn read(&self, session: &mut Session) -> Result<Reading, Error> {
        let rows = session.connection.query(&sql::select(self.watch.name())).await?;
        // It may have been cut off while it answered.
        if !self.nodes().contains(&session.node) {
            return Ok(Reading::Unreadable(format!("{} serves no more", self.name(session.node))));
        }
        Ok(sql::reading(&rows))
    }

    async fn log_in(&self, rules: &Rules, node: NodeId) -> Result<Session, Failure> {
        let name = self.name(node);
        let Some((watched, login)) = self.watch.watched(node).zip(login(rules)) else { return Err(Failure::Nobody) };
        let prober = rules.prober(&watched, self.watch.lookup()).with_account(&login.user, &login.password);
        let mut connection = match prober.log_in().await {
            Ok(connection) => connection,
            Err(check) => {
                let said = error_of(&check).unwrap_or_default();
                return Err(match check {
                    Check::LoginRefused(_) => Failure::Refused(format!(
                        "{name} refuses the login of {:?}: {said}; see docs/agreement.md for the account",
                        login.user
                    )),
                    _ => Failure::Other(format!("{name}: {said}")),
                });
            }
        };
        match connection.query(sql::SESSION).await {
            Ok(_) => Ok(Session { connection, node }),
            Err(e) => Err(Failure::Other(format!("{name}: {e}"))),
        }
    }

    async fn write_on(&self) {
        let mut warning = Seldom::new(WARNING_EVERY);
        let mut failures = 0;
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let proposal = self.watch.proposal().await;
            let begun = Instant::now();
            let rules = self.watch.rules();
            let limit = COMMIT_TIME.max(rules.config.monitor.timeout * 2);
            let written = match within(limit, self.write(&rules, &proposal, failures)).await {
                Ok(written) => written,
                Err(_) => Err(Failure::Other(format!("no commit within {limit:?}"))),
            };
            // What was proposed while this was under way rests on the old record.
            self.watch.forget_proposal();
            let mut pause = rules.config.monitor.interval;
            match written {
                Ok((reading, read_at)) => {
                    (failures, back_off) = (0, BACK_OFF_FIRST);
                    self.hand_over(reading, read_at, true);
                }
                Err(failure) => {
                    failures += 1;
                    pause = pause.max(BACK_OFF_FIRST);
                    if let Failure::Refused(_) = failure {
                        pause = pause.max(back_off);
                        back_off = (back_off * 2).min(BACK_OFF_MOST);
                    }
                    let why = match failure {
                        Failure::Nobody => "no node serves through which it could be written".to_owned(),
                        Failure::Refused(why) | Failure::Other(why) => why,
                    };
                    if warning.due(Instant::now().into_std()) {
                        tracing::warn!(
                            cluster = self.watch.name(),
                            writer = &*proposal.name,
                            why = &*why,
                            "the new writer cannot be recorded: it does not write before it is"
                        );
                    }
                    self.watch.recorded(Reading::Unwritten(why));
                    self.read_now.notify_one();
                }
            }
            // The core proposes anew with each reading that does not show what it wants.
            sleep_until(begun + pause).await;
        }
    }

    /// Changes the record if nobody has since it was read, and reads it again. Through the node that is to be the writer,
    /// which so proves that it can commit; after a failure through the others.
    async fn write(&self, rules: &Rules, proposal: &Proposal, failures: usize) -> Result<(Reading, Instant), Failure> {
        let mut nodes = self.nodes();
        nodes.sort_by_key(|id| *id != proposal.node);
        let node = failures.checked_rem(nodes.len()).and_then(|i| nodes.get(i)).copied();
        let node = node.ok_or(Failure::Nobody)?;
        let mut session = self.log_in(rules, node).await?;
        // A side that was fenced since must not be written: its record would come back with its data.
        if !self.nodes().contains(&node) {
            return Err(Failure::Other(format!("{} serves no more", self.name(node))));
        }
        let epoch = proposal.epoch.map_or(1, |e| e.saturating_add(1));
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).own = Some((epoch, proposal.uuid.clone()));
        match session.connection.query(&sql::change(self.watch.name(), proposal)).await {
            Ok(_) => {}
            Err(e) if sql::is_lost(&e) => {
                tracing::debug!(cluster = self.watch.name(), error = %e, "another balancer was first");
            }
            Err(e) => {
                return Err(Failure::Other(format!("{}: {}", self.name(node), sql::words(&e, &self.user(rules)))));
            }
        }
        let read_at = Instant::now();
        let reading = self.read(&mut session).await;
        let reading = reading.map_err(|e| Failure::Other(format!("{}: {e}", self.name(node))))?;
        let timeout = rules.config.monitor.timeout;
        tokio::spawn(async move { within(timeout, session.connection.quit()).await });
        Ok((reading, read_at))
    }

    /// Gives a reading that began then to the core, unless a later one was faster: an older row would take the role back
    /// from the new writer.
    fn hand_over(&self, reading: Reading, begun: Instant, tell: bool) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if begun < journal.handed_over {
            return;
        }
        journal.handed_over = Instant::now();
        journal.note(self.watch.name(), &reading, tell);
        self.watch.recorded(reading);
    }

    /// In the order in which they are asked. The present writer last: when it fails, which is when the record is
    /// needed, the connection to another node lives on.
    fn nodes(&self) -> Vec<NodeId> {
        self.watch.nodes_of_record()
    }

    fn name(&self, id: NodeId) -> Arc<str> {
        self.watch.watched(id).map_or_else(|| "?".into(), |w| w.node.name())
    }

    fn user(&self, rules: &Rules) -> String {
        login(rules).map_or_else(String::new, |login| login.user.clone())
    }
}

fn login(rules: &Rules) -> Option<&RecordLogin> {
    rules.config.writer.login.as_ref()
}

impl Journal {
    fn note(&mut self, cluster: &str, reading: &Reading, tell: bool) {
        match reading {
            Reading::Unreadable(why) => {
                if tell && self.warning.due(Instant::now().into_std()) {
                    tracing::warn!(
                        cluster,
                        why,
                        "the writer's record galeway.writer cannot be read: the writer stays \
                        as it is; where there was none since the start, there is none"
                    );
                    self.trouble = true;
                }
                return;
            }
            // Told where it was tried.
            Reading::Unwritten(_) => return,
            Reading::NoRow => self.epoch = None,
            Reading::Row(row) => {
                let (epoch, writer) = (row.epoch, &*row.name);
                let before = self.epoch.replace(epoch);
                if before == Some(epoch) {
                    // No news.
                } else if self.own.as_ref().is_some_and(|(e, uuid)| *e == epoch && *uuid == row.uuid) {
                    tracing::info!(cluster, epoch, writer, "writer recorded");
                } else if before.is_none() {
                    tracing::info!(cluster, epoch, writer, "the writer's record");
                } else {
                    tracing::info!(cluster, epoch, writer, "another balancer recorded the writer");
                }
            }
        }
        if std::mem::take(&mut self.trouble) {
            tracing::info!(cluster, "the writer's record can be read again");
        }
    }
}
