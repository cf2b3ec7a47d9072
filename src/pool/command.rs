//! What an operator asks of a cluster: a message to the health room, which alone decides and publishes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::galera::AdminState;

/// Commands that wait at once. People send one at a time; more is a flood of looks, which are all alike.
const QUEUE: usize = 64;

/// A command is done or refused within this time: whoever asked, waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// A wish about one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Sets a node's state.
    SetState {
        /// Its name.
        node: Arc<str>,
        /// Its state from now on.
        state: AdminState,
        /// Its history is the right one from now on, whatever was known or learned before.
        accept_history: bool,
    },
    /// Something may have happened: look at every node now.
    Look,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cluster has no node of this name; the ones that it has.
    #[error("{0}")]
    NoSuchNode(String),
    /// It cannot be done as things are; why, and what to do.
    #[error("{0}")]
    NotPossible(String),
    /// Nobody took it in time.
    #[error("galeway is busy or stopping: nothing was promised; ask for the status, and try again")]
    Busy,
}

/// What becomes of a command: a sentence for the operator, or why not.
pub type Answer = Result<String, Refusal>;

/// Where commands for one cluster are given.
#[derive(Debug, Clone)]
pub struct Commands(mpsc::Sender<(Command, oneshot::Sender<Answer>)>);

/// Where its health room takes them.
#[derive(Debug)]
pub struct CommandQueue(mpsc::Receiver<(Command, oneshot::Sender<Answer>)>);

impl Commands {
    /// The two ends.
    pub fn channel() -> (Self, CommandQueue) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), CommandQueue(receiver))
    }

    /// Gives a command and waits for what becomes of it, two seconds at most.
    ///
    /// # Errors
    /// The refusal. After [`Refusal::Busy`] the command may still be carried out.
    pub async fn give(&self, command: Command) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.0.try_send((command, sender)).map_err(|_| Refusal::Busy)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }
}

impl CommandQueue {
    /// The next command, and where its answer goes: to nobody if who asked has left. `None`: nobody can ask any more.
    pub async fn next(&mut self) -> Option<(Command, oneshot::Sender<Answer>)> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in [AdminState::Ready, AdminState::Drain, AdminState::Maintenance] {
            assert_eq!(AdminState::parse(state.as_str()), Some(state));
        }
        assert_eq!(AdminState::parse("Ready"), None);
    }

    #[tokio::test]
    async fn a_command_comes_with_a_way_to_answer_it() {
        let (commands, mut queue) = Commands::channel();
        let health = tokio::spawn(async move {
            let (command, answer) = queue.next().await.unwrap();
            answer.send(Ok(format!("{command:?}"))).unwrap();
        });
        assert_eq!(commands.give(Command::Look).await, Ok("Look".to_owned()));
        health.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_deadline() {
        let (commands, _queue) = Commands::channel();
        let asked = tokio::time::Instant::now();
        assert_eq!(commands.give(Command::Look).await, Err(Refusal::Busy));
        assert_eq!(asked.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_dead_one_refuse_at_once() {
        let (commands, queue) = Commands::channel();
        for _ in 0..QUEUE {
            let (sender, _) = oneshot::channel();
            commands.0.try_send((Command::Look, sender)).unwrap();
        }
        let asked = tokio::time::Instant::now();
        assert_eq!(commands.give(Command::Look).await, Err(Refusal::Busy));
        drop(queue);
        assert_eq!(commands.give(Command::Look).await, Err(Refusal::Busy));
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}
