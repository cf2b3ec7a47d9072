//! `galeway status --watch`: the status, every second, until somebody has seen enough.

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal as Kill, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::{Admin, on_runtime};
use super::screen::{Screen, write};
use super::status::{age, harmless, look};
use super::wrong;
use crate::config::Secret;

const EVERY: Duration = Duration::from_secs(1);

/// Of each question: an instance that is well answers within milliseconds, and who watches waits for news.
const LIMIT: Duration = Duration::from_secs(2);

/// Without an `admin` it is looked for anew each time: the socket may come with the instance.
pub(super) fn run(admin: Option<&Admin>, token: Option<&Secret>) -> ExitCode {
    match on_runtime(watch(admin, token)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // Who reads has heard enough (`galeway status --watch | head`): that is no fault.
        Ok(Err(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(Err(e)) => wrong(format_args!("cannot go on showing the status: {e}")),
        Err(e) => wrong(e),
    }
}

async fn watch(admin: Option<&Admin>, token: Option<&Secret>) -> io::Result<()> {
    let mut page = Page::default();
    // Before the screen is taken: a signal in between must not leave it taken.
    let mut signals = Signals::new()?;
    let mut screen = Screen::open()?;
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut next = pin!(async {
            due.tick().await;
            let admin = Admin::of(admin)?;
            let looked = look(&admin, token, LIMIT).await.map(|look| look.text());
            looked.map_err(|why| format!("{admin}: {why}"))
        });
        let looked = loop {
            let news = tokio::select! {
                biased;
                news = signals.next() => news,
                looked = &mut next => break looked,
            };
            match (news, &mut screen) {
                (News::End, _) => return Ok(()),
                (News::Resized, Some(screen)) => screen.draw(&page.text)?,
                (News::Suspended, Some(screen)) => {
                    screen.leave()?;
                    suspend()?;
                    screen.enter()?;
                    screen.draw(&page.text)?;
                }
                (News::Suspended, None) => suspend()?,
                (News::Resized, None) => {}
            }
        };
        let first = page.text.is_empty();
        page.turn(looked, Instant::now(), SystemTime::now());
        match &screen {
            Some(screen) => screen.draw(&page.text)?,
            None => {
                let block = if first { page.text.clone() } else { format!("\n{}", page.text) };
                // A pager that reads no further must not keep Ctrl-C from ending this.
                let written = tokio::task::spawn_blocking(move || write(&block));
                tokio::select! {
                    biased;
                    () = signals.end() => return Ok(()),
                    written = written => written??,
                }
            }
        }
    }
}

/// As Ctrl-Z would have done by itself; returns when it goes on.
fn suspend() -> io::Result<()> {
    Ok(kill_process(getpid(), Kill::STOP)?)
}

/// What is shown.
#[derive(Debug, Default)]
struct Page {
    text: String,
    last: Option<Last>,
}

/// The last answer.
#[derive(Debug)]
struct Last {
    text: String,
    at: Instant,
    clock: SystemTime,
}

impl Page {
    /// To what was said now, or else to why nothing was, with what was said last.
    fn turn(&mut self, looked: Result<String, String>, now: Instant, clock: SystemTime) {
        match looked {
            Ok(text) => {
                self.text.clone_from(&text);
                self.last = Some(Last { text, at: now, clock });
            }
            Err(why) => {
                self.text = format!("! {}\n", harmless(&why));
                match &self.last {
                    None => self.text.push_str("! it has not answered yet\n"),
                    Some(last) => {
                        let ago = age(now.duration_since(last.at).as_secs_f64());
                        let told = format!("! last answer {ago} ago, at {}:\n{}", time(last.clock), last.text);
                        self.text.push_str(&told);
                    }
                }
            }
        }
    }
}

/// The time of day.
fn time(clock: SystemTime) -> String {
    let seconds = clock.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// What a terminal, or whoever else may, has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Ctrl-C, Ctrl-\, a terminal that is gone, or a plain kill.
    End,
    /// Ctrl-Z.
    Suspended,
    /// The window has another size.
    Resized,
}

#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    terminate: Signal,
    suspend: Signal,
    resize: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            suspend: signal(SignalKind::from_raw(Kill::TSTP.as_raw()))?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> News {
        tokio::select! {
            _ = self.interrupt.recv() => News::End,
            _ = self.quit.recv() => News::End,
            _ = self.hangup.recv() => News::End,
            _ = self.terminate.recv() => News::End,
            _ = self.suspend.recv() => News::Suspended,
            _ = self.resize.recv() => News::Resized,
        }
    }

    async fn end(&mut self) {
        while self.next().await != News::End {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_does_not_answer_is_shown_with_its_last_answer_and_when() {
        let (now, clock) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(86_400 * 20_000 + 14 * 3600 + 3 * 60 + 9));
        let mut page = Page::default();
        let refused = || Err("127.0.0.1:9306: cannot\x1b[2J connect".to_owned());
        page.turn(refused(), now, clock);
        assert_eq!(page.text, "! 127.0.0.1:9306: cannot?[2J connect\n! it has not answered yet\n");
        page.turn(Ok("all is well\n".to_owned()), now, clock);
        assert_eq!(page.text, "all is well\n");
        for (later, ago) in [(12, "12s"), (3700, "1h01m")] {
            let later = Duration::from_secs(later);
            page.turn(refused(), now + later, clock + later);
            let expected = format!(
                "! 127.0.0.1:9306: cannot?[2J connect\n! last answer {ago} ago, at 14:03:09 UTC:\nall is well\n"
            );
            assert_eq!(page.text, expected);
        }
        page.turn(Ok("well again\n".to_owned()), now, clock);
        assert_eq!(page.text, "well again\n");
    }
}
