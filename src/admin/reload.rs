//! A reload that is asked for over HTTP: passed on to whoever read the configuration first.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Wishes that wait. Each reads the file as it is when it is read: a second one that waits is as good as a hundred.
const QUEUE: usize = 2;

/// Whoever asked waits for so long; below the life of a connection to the admin address.
const PATIENCE: Duration = Duration::from_secs(15);

/// What became of a reload, for a person: several lines.
pub type Told = Result<String, String>;

/// Where a reload is asked for.
#[derive(Debug)]
pub struct ReloadDesk(mpsc::Sender<oneshot::Sender<Told>>);

/// Where the wishes come out.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<oneshot::Sender<Told>>);

/// Why there was none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReloadRefusal {
    /// The new configuration is wrong; what is wrong with it.
    #[error("{0}")]
    Bad(String),
    /// It takes long.
    #[error("the reload is still under way: the log says what becomes of it")]
    Late,
    /// Two are under way or asked for.
    #[error("a reload is under way and another one is waiting: it reads the file as it is now")]
    Busy,
    /// Nobody takes wishes.
    #[error("there is nobody to reload: Galeway stops, or runs a file that SIGHUP reloads")]
    Nobody,
}

impl ReloadDesk {
    /// The two ends.
    pub fn channel() -> (Self, ReloadRequests) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), ReloadRequests(receiver))
    }

    pub(super) async fn ask(&self) -> Result<String, ReloadRefusal> {
        let (sender, told) = oneshot::channel();
        self.0.try_send(sender).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ReloadRefusal::Busy,
            mpsc::error::TrySendError::Closed(_) => ReloadRefusal::Nobody,
        })?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(told)) => told.map_err(ReloadRefusal::Bad),
            Ok(Err(_)) => Err(ReloadRefusal::Nobody),
            Err(_) => Err(ReloadRefusal::Late),
        }
    }
}

impl ReloadRequests {
    /// The next wish, and where what becomes of it is told. Never, once nobody can ask any more.
    pub async fn next(&mut self) -> oneshot::Sender<Told> {
        match self.0.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_hears_what_became_of_it_or_that_it_takes_long() {
        let (desk, mut requests) = ReloadDesk::channel();
        let runs = tokio::spawn(async move {
            requests.next().await.send(Ok("done\n".to_owned())).unwrap();
            requests.next().await.send(Err("no\n".to_owned())).unwrap();
            let _kept = requests.next().await;
            std::future::pending::<()>().await;
        });
        assert_eq!(desk.ask().await, Ok("done\n".to_owned()));
        assert_eq!(desk.ask().await, Err(ReloadRefusal::Bad("no\n".to_owned())));
        assert_eq!(desk.ask().await, Err(ReloadRefusal::Late));
        runs.abort();
        let _ = runs.await;
        assert_eq!(desk.ask().await, Err(ReloadRefusal::Nobody));
    }
}
