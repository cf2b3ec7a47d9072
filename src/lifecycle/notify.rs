//! What the service manager that started us hears, by sd_notify(3): that we serve, what we do, that we end, that we live.
//!
//! Without `NOTIFY_SOCKET` nobody is told anything. The socket is connected once, at the start: a chroot does not hold its
//! path. It never blocks: a service manager that does not read must not hold up the threads that tell it something.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::service::Workers;

/// The service manager, if there is one that wants to hear of us.
#[derive(Debug)]
pub struct Notifier {
    to: Option<To>,
    /// How long it waits for a sign of life before it ends us.
    watchdog: Option<Duration>,
    pulse: watch::Sender<Option<Pulse>>,
    /// Another process is the one that it hears.
    replaced: AtomicBool,
}

#[derive(Debug)]
struct To {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// As the environment says. To be called before any thread is started, and before the root is changed.
    pub fn from_env() -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|at| match To::connect(&at) {
            Ok(to) => Some(to),
            Err(error) => {
                tracing::warn!(socket = %at.display(), %error, "the service manager cannot be told anything (NOTIFY_SOCKET)");
                None
            }
        });
        let watchdog = sd_notify::watchdog_enabled().filter(|every| to.is_some() && !every.is_zero());
        Self { to, watchdog, pulse: watch::Sender::new(None), replaced: AtomicBool::new(false) }
    }

    /// Clients are accepted. `status`: one short sentence, here and below.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is read again. To be followed by [`Self::ready`], whatever came of it: until then the service
    /// manager waits.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            // Without the time it would be taken for a reload that fails.
            Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
        }
    }

    /// The end has begun.
    pub fn stopping(&self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// This process, or again this one, is the one to watch, and accepts clients.
    pub fn take_over(&self, status: &str) {
        self.replaced.store(false, Ordering::SeqCst);
        self.tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// From now on that process is the one to watch, and the only one that speaks.
    pub fn replaced_by(&self, pid: u32) {
        self.tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
        self.replaced.store(true, Ordering::SeqCst);
    }

    /// What this process does at the moment.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Whose threads have to answer from now on, for [`Self::watchdog`].
    pub fn watch_over(&self, pulse: Pulse) {
        self.pulse.send_replace(Some(pulse));
    }

    /// Gives signs of life, twice as often as they are asked for, and each only after every thread has answered: one that
    /// hangs ends them. No thread is asked a second time before it has answered.
    pub async fn watchdog(&self) -> Infallible {
        let Some(every) = self.watchdog else { return std::future::pending().await };
        let mut pulse = self.pulse.subscribe();
        let mut ticks = tokio::time::interval_at(Instant::now(), every / 2);
        // After a pause of the machine there is nothing to catch up on.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = pulse.borrow_and_update().clone();
            let answered = async {
                match &asked {
                    Some(asked) => asked.answer().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = answered => self.tell(&[NotifyState::Watchdog]),
                // Threads that are to end need not answer any more. The sender is ours.
                _ = pulse.changed() => continue,
            }
            ticks.tick().await;
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(to) = self.to.as_ref().filter(|_| !self.replaced.load(Ordering::SeqCst)) else { return };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = to.send(text.as_bytes()) {
            tracing::debug!(%error, text, "the service manager was not told");
        }
    }
}

impl To {
    fn connect(at: &OsStr) -> io::Result<Self> {
        let address = match at.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(at)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it is no Unix socket")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket, address })
    }

    fn send(&self, text: &[u8]) -> io::Result<()> {
        match self.socket.send(text) {
            // It was started anew.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected) => {
                self.socket.connect_addr(&self.address)?;
                self.socket.send(text).map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

/// Asks threads whether they live.
#[derive(Debug, Clone)]
pub struct Pulse {
    pub(super) control: mpsc::Sender<oneshot::Sender<()>>,
    pub(super) workers: Arc<Workers>,
}

impl Pulse {
    /// Ends once the control thread and every worker have answered; where one has ended or hangs, never.
    pub async fn answer(&self) {
        let (send, receive) = oneshot::channel();
        if self.control.send(send).await.is_err() || receive.await.is_err() || !self.workers.answer().await {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A service manager: the socket it listens on.
    fn manager(name: &str) -> (UnixDatagram, PathBuf) {
        let path = std::env::temp_dir().join(format!("galeway-notify-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (socket, path)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn notifier(to: To, watchdog: Option<Duration>) -> Notifier {
        Notifier { to: Some(to), watchdog, pulse: watch::Sender::new(None), replaced: AtomicBool::new(false) }
    }

    #[test]
    fn each_state_is_told_in_the_words_of_sd_notify() {
        let (socket, path) = manager("words");
        let notifier = notifier(To::connect(path.as_os_str()).unwrap(), None);
        notifier.ready("serving");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving\n");
        notifier.reloading();
        let said = heard(&socket);
        let time = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().unwrap() > 0, "{said}");
        notifier.stopping("draining");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=draining\n");
        notifier.replaced_by(7);
        assert_eq!(heard(&socket), "MAINPID=7\nREADY=1\n");
        notifier.stopping("not heard");
        notifier.take_over("serving");
        let ours = format!("MAINPID={}\nREADY=1\nSTATUS=serving\n", std::process::id());
        assert_eq!(heard(&socket), ours, "who was replaced says nothing");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_service_manager_that_was_started_anew_is_told_again() {
        let (socket, path) = manager("anew");
        let notifier = notifier(To::connect(path.as_os_str()).unwrap(), None);
        drop(socket);
        notifier.status("nobody hears this");
        let (socket, _) = manager("anew");
        notifier.status("serving");
        assert_eq!(heard(&socket), "STATUS=serving\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_abstract_socket_is_one_as_well() {
        let name = format!("galeway-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notifier(To::connect(OsStr::new(&format!("@{name}"))).unwrap(), None).status("serving");
        assert_eq!(heard(&socket), "STATUS=serving\n");
        assert!(To::connect(OsStr::new("vsock:2:1234")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_does_not_answer_ends_the_signs_of_life_and_is_asked_once() {
        let (socket, path) = manager("dog");
        socket.set_nonblocking(true).unwrap();
        let signs = || std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count();
        let notifier = notifier(To::connect(path.as_os_str()).unwrap(), Some(Duration::from_secs(2)));
        let (control, mut pings) = mpsc::channel::<oneshot::Sender<()>>(8);
        notifier.watch_over(Pulse { control, workers: Arc::new(Workers::start(1).unwrap()) });
        let life = async {
            for _ in 0..5 {
                pings.recv().await.unwrap().send(()).unwrap();
            }
            // It takes the sixth question and hangs.
            let held = pings.recv().await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(pings.try_recv().is_err(), "asked again without an answer");
            drop(held);
        };
        tokio::select! {
            never = notifier.watchdog() => match never {},
            () = life => {}
        }
        assert_eq!(signs(), 5);
        std::fs::remove_file(path).unwrap();
    }
}
