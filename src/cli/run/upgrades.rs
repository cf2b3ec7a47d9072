//! SIGUSR2: a new process of the program at its path takes the place of this one.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use crate::admin::RunState;
use crate::cli::process::PidFiles;
use crate::lifecycle::{Handle, Notifier, Predecessor, Program, Relieved, Successor, Upgrade};
use crate::net::handover::Order;

/// How often it is looked whether the process that has taken over lives, and what operators have set there.
const LOOK: Duration = Duration::from_millis(200);

/// What the service manager is told of a process that serves.
pub(super) const ACCEPTING: &str = "accepting clients";

/// How often a service manager is told that this is the main process, where it has lost the one before; and how many times: a
/// minute long.
const INSIST: Duration = Duration::from_millis(100);
const INSISTENCE: u32 = 600;

/// At most one upgrade of this process.
pub(super) struct Upgrades<'a> {
    pub(super) handle: &'a Handle,
    pub(super) notifier: &'a Notifier,
    pub(super) pid: &'a PidFiles,
    pub(super) program: io::Result<Program>,
    /// The process has a root of its own.
    pub(super) inside: bool,
    stage: Stage,
    /// What operators have set at the process that has taken over.
    orders: VecDeque<Order>,
}

enum Stage {
    None,
    UnderWay(Upgrade),
    Replaced(Successor),
    /// And the process that had taken over has ended.
    Orphaned,
}

impl<'a> Upgrades<'a> {
    pub(super) fn new(
        handle: &'a Handle,
        notifier: &'a Notifier,
        pid: &'a PidFiles,
        program: io::Result<Program>,
        inside: bool,
    ) -> Self {
        Self { handle, notifier, pid, program, inside, stage: Stage::None, orders: VecDeque::new() }
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::UnderWay(_))
    }

    /// Begins one, or says why not.
    pub(super) fn ask(&mut self) {
        if let Err(why) = self.begin() {
            tracing::error!("SIGUSR2: no upgrade: {why}");
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        match &self.stage {
            Stage::None => {}
            Stage::UnderWay(_) => return Err("one is under way".to_owned()),
            Stage::Replaced(successor) => {
                return Err(format!("process {} has taken over: send it the signal", successor.pid()));
            }
            Stage::Orphaned => return Err("another process had taken over, and has ended".to_owned()),
        }
        if std::process::id() == 1 {
            return Err("this is process 1, and its container would end with it: start another container".to_owned());
        }
        if self.inside {
            return Err(
                "with a `chroot` the program, its configuration and keys are out of reach: restart it".to_owned()
            );
        }
        let program =
            self.program.as_ref().map_err(|e| format!("it is not known which program this is ({e}): restart it"))?;
        if self.handle.view().state() != RunState::Running {
            return Err("clients are not accepted yet, or not any more".to_owned());
        }
        let short = |e: io::Error| format!("cannot hand over what this process listens on: {e}");
        let mut goods = match &self.pid.ours {
            Some(file) => vec![file.good().map_err(short)?],
            None => Vec::new(),
        };
        goods.extend(self.handle.hand_over().map_err(short)?);
        let begun = Upgrade::begin(program, goods, self.handle.first_round());
        match begun {
            Ok(upgrade) => self.stage = Stage::UnderWay(upgrade),
            Err(e) => {
                self.handle.stay();
                return Err(format!("cannot start a thread: {e}"));
            }
        }
        tracing::info!(program = %program.path().display(), "SIGUSR2: starting a new process to take over");
        Ok(())
    }

    /// Waits until another process has taken over, once; without one, or after it, for ever. Dropped before that it loses nothing.
    pub(super) async fn done(&mut self) {
        loop {
            match &mut self.stage {
                Stage::UnderWay(upgrade) => {
                    let outcome = upgrade.outcome().await;
                    match outcome.and_then(|successor| self.hand_over(successor)) {
                        Ok(successor) => {
                            self.stage = Stage::Replaced(successor);
                            return;
                        }
                        Err(why) => {
                            self.stage = Stage::None;
                            self.handle.stay();
                            tracing::error!("no upgrade: {why}; this process goes on as before");
                        }
                    }
                }
                Stage::Replaced(successor) => {
                    if successor.has_ended() {
                        tracing::error!(
                            pid = successor.pid(),
                            "the process that had taken over has ended; this one \
                            accepts nobody any more"
                        );
                        self.stage = Stage::Orphaned;
                        continue;
                    }
                    self.orders.extend(successor.orders());
                    // Each stays until it is carried out: a signal that comes meanwhile drops this future. Twice is as once.
                    while let Some(order) = self.orders.front().cloned() {
                        self.handle.obey(order).await;
                        self.orders.pop_front();
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Stage::None | Stage::Orphaned => pending().await,
            }
        }
    }

    /// Nothing of this process's serves any more but the sessions that it has.
    fn hand_over(&self, mut successor: Successor) -> Result<Successor, String> {
        // First: the service manager listens to nobody else.
        self.notifier.replaced_by(successor.pid());
        if let Err(why) = successor.hand_over() {
            self.notifier.take_over(ACCEPTING);
            return Err(why);
        }
        if let Some(file) = &self.pid.ours {
            file.leave();
        }
        self.handle.leave();
        let sessions: usize = self.handle.sessions().iter().sum();
        tracing::info!(
            new = successor.pid(),
            sessions,
            "another process has taken over; this one ends with its last session"
        );
        Ok(successor)
    }

    /// This process is told to end: one that is being started ends before it.
    pub(super) async fn give_up(&mut self) {
        if let Stage::UnderWay(upgrade) = std::mem::replace(&mut self.stage, Stage::Orphaned) {
            upgrade.give_up().await;
            tracing::warn!("the upgrade is given up");
        }
    }
}

/// This process accepts clients: the one that has started it is to end. Where a service manager counts that one's end as the
/// end of the service, this takes its time.
pub(super) async fn take_over(predecessor: Predecessor, handle: &Handle, notifier: &Notifier, pid: &PidFiles) {
    let relieved = predecessor.relieve(handle.view().operated.subscribe()).await;
    match &relieved {
        Relieved::Orderly => tracing::info!("taken over; the process that was here ends with its last session"),
        Relieved::Alone => tracing::warn!("taken over; the process that was here has ended, and its sessions with it"),
        Relieved::Silent(why) => {
            tracing::warn!(why, "taken over from a process that says nothing to it; see whether it ends")
        }
    }
    handle.settle();
    if let Some(file) = &pid.ours
        && let Err(e) = file.write()
    {
        tracing::error!(error = %e, "the pid file does not hold this process's number");
    }
    for file in pid.others.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        file.take();
    }
    notifier.take_over(ACCEPTING);
    if relieved == Relieved::Alone {
        // systemd starts another one by now, which finds our addresses in use, time and again. It hears of a main process only
        // while it starts one, and may have been between two starts.
        for _ in 0..INSISTENCE {
            tokio::time::sleep(INSIST).await;
            notifier.take_over(ACCEPTING);
        }
    }
}
