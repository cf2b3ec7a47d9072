//! `galeway status --watch`, in a terminal and out of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::termios::LocalModes;

use crate::fakes::{Fakes, LONG, set_state};
use crate::harness::galeway::binary;
use crate::harness::process::{Process, Signal};
use crate::harness::terminal::{CTRL_C, CTRL_Z, Terminal};
use crate::harness::{Galeway, Settings, cli, millis};
use crate::peer::Peer;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";

fn two() -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(2);
    let galeway = fakes.galeway(Settings::default());
    (fakes, peers, galeway)
}

fn watch(galeway: &Galeway) -> Command {
    let mut command = Command::new(binary());
    command.args(["status", "--watch", "--admin", &galeway.admin().to_string()]);
    command
}

/// A watch whose output is a pipe.
struct Piped {
    process: Process,
    lines: mpsc::Receiver<String>,
}

impl Piped {
    fn start(command: &mut Command) -> Self {
        let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()));
        let stdout = process.child().stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, lines }
    }

    /// The lines up to the next empty one.
    #[track_caller]
    fn block(&self) -> Vec<String> {
        let line = || self.lines.recv_timeout(LONG).expect("another line");
        std::iter::repeat_with(line).take_while(|line| !line.is_empty()).collect()
    }

    /// Waits for a block that fits.
    #[track_caller]
    fn block_where(&self, what: &str, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        for _ in 0..LONG.as_secs() {
            let block = self.block();
            if fits(&block) {
                return block;
            }
        }
        panic!("no block where {what}");
    }

    #[track_caller]
    fn ends_by(mut self, signal: Signal) {
        self.process.signal(signal);
        assert_eq!(self.process.wait(LONG).expect("it ends").code(), Some(0), "{signal:?}");
    }
}

#[test]
fn out_of_a_terminal_one_status_follows_the_other_until_ctrl_c() {
    let (fakes, _data, galeway) = two();
    let piped = Piped::start(&mut watch(&galeway));
    for _ in 0..2 {
        let block = piped.block();
        assert!(block[0].starts_with("galeway ") && block.iter().all(|line| !line.contains('\x1b')), "{block:?}");
        assert!(block.iter().any(|line| line.starts_with("    n1 ")), "{block:?}");
        assert_eq!(block.last().unwrap(), "ready: every service can route");
    }
    set_state(fakes.check(1), "1");
    let bad = |block: &[String]| block.iter().any(|line| line.starts_with("!   n1 ") && line.contains("Joiner"));
    piped.block_where("n1 is a joiner", bad);
    piped.ends_by(Signal::INT);
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let piped = Piped::start(&mut watch(&galeway));
        piped.block();
        piped.ends_by(signal);
    }
}

#[test]
fn an_instance_that_is_gone_is_shown_as_that_until_it_is_back() {
    let (_fakes, _data, mut galeway) = two();
    let piped = Piped::start(&mut watch(&galeway));
    piped.block();
    galeway.kill();
    let gone = format!("! {}: cannot connect: ", galeway.admin());
    let block = piped.block_where("it is gone", |block| block[0].starts_with(&gone));
    assert!(block[1].starts_with("! last answer ") && block[1].ends_with(" UTC:"), "{block:?}");
    assert!(block[2].starts_with("galeway ") && block.iter().any(|line| line.starts_with("    n1 ")), "{block:?}");
    galeway.start_again();
    piped.block_where("it is back", |block| block[0].starts_with("galeway "));
    piped.ends_by(Signal::INT);
}

#[test]
fn who_watches_may_come_before_the_instance_and_meet_another_server() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = silent.local_addr().unwrap().to_string();
    let piped = Piped::start(Command::new(binary()).args(["status", "--watch", "--admin", &admin]));
    let block = piped.block();
    assert_eq!(block, [format!("! {admin}: no answer within 2.0 s"), "! it has not answered yet".to_owned()]);
    piped.ends_by(Signal::INT);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = other.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        let mut stream = other.accept().unwrap().0;
        assert!(stream.read(&mut [0; 1000]).unwrap() > 0, "the request");
        stream.write_all(b"HTTP/1.1 404 Gone\r\nContent-Length: 9\r\n\r\n\x1b[2Jgone\n").unwrap();
    });
    let piped = Piped::start(Command::new(binary()).args(["status", "--watch", "--admin", &admin]));
    assert_eq!(piped.block()[0], format!("! {admin}: 404: ?[2Jgone"), "a terminal obeys what it is sent");
    answering.join().unwrap();
    piped.ends_by(Signal::INT);
}

#[test]
fn a_reader_that_has_left_is_the_end_and_one_that_reads_no_further_holds_up_no_ctrl_c() {
    let (_fakes, _data, galeway) = two();
    let head = format!("{} status --watch --admin {} | head -n 1", binary().display(), galeway.admin());
    let output = cli::run(Command::new("bash").args(["-o", "pipefail", "-c", &head]));
    assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{output:?}");
    // A pipe that is full already.
    let (full, mut end) = std::io::pipe().unwrap();
    let filling = end.try_clone().unwrap();
    rustix::io::ioctl_fionbio(&filling, true).unwrap();
    while end.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&filling, false).unwrap();
    let mut process = Process::spawn(watch(&galeway).stdout(end).stderr(Stdio::null()));
    std::thread::sleep(millis(500));
    assert!(process.ended().is_none());
    process.signal(Signal::INT);
    assert_eq!(process.wait(LONG).expect("it ends").code(), Some(0));
    drop(full);
}

#[test]
fn to_watch_json_is_wrong_usage() {
    let output = cli::run(Command::new(binary()).args(["status", "--watch", "--json"]));
    assert_eq!((output.code, &*output.stdout), (Some(2), ""), "{output:?}");
    assert!(output.stderr.contains("--watch") && output.stderr.contains("--json"), "{output:?}");
}

/// What is on the screen by now: the lines of the last picture. The terminal adds a carriage return of its own.
fn picture(drawn: &str) -> Vec<String> {
    let last = drawn.rsplit(HOME).next().unwrap().replace("\x1b[2K", "").replace("\x1b[J", "");
    last.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

fn pictures(drawn: &str) -> usize {
    drawn.matches(HOME).count()
}

/// Whether a picture is there, and whole.
fn complete(drawn: &str) -> bool {
    drawn.ends_with("\x1b[J")
}

fn echoes(terminal: &Terminal) -> bool {
    terminal.modes().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
}

#[test]
fn in_a_terminal_the_status_is_drawn_over_itself_and_ctrl_c_gives_the_terminal_back() {
    let (_fakes, _data, galeway) = two();
    let mut terminal = Terminal::start(24, 100, &mut watch(&galeway));
    assert!(echoes(&terminal));
    let drawn = terminal.wait_drawn(LONG, "three pictures", |drawn| pictures(drawn) >= 3 && complete(drawn));
    assert!(drawn.starts_with(ENTER) && !drawn.contains(LEAVE), "{drawn:?}");
    let picture = picture(&drawn);
    assert!(picture[0].starts_with("galeway ") && picture.iter().any(|line| line.contains("n1")), "{picture:?}");
    assert_eq!(picture.last().unwrap(), "ready: every service can route");
    assert!(!echoes(&terminal), "keys would be printed into the picture");
    terminal.type_key(b'x');
    terminal.type_key(CTRL_C);
    assert_eq!(terminal.wait(LONG).code(), Some(0));
    let drawn = terminal.wait_drawn(LONG, "the terminal is given back", |drawn| drawn.ends_with(LEAVE));
    assert!(!drawn.contains('x') && drawn.matches(ENTER).count() == 1, "{drawn:?}");
    assert!(echoes(&terminal));
}

#[test]
fn the_picture_is_cut_to_the_window_and_follows_its_size() {
    let (_fakes, _data, galeway) = two();
    let terminal = Terminal::start(4, 30, &mut watch(&galeway));
    let drawn = terminal.wait_drawn(LONG, "a picture", |drawn| pictures(drawn) > 0 && complete(drawn));
    let small = picture(&drawn);
    assert!(small.len() == 4 && small.iter().all(|line| line.len() <= 30), "{small:?}");
    assert!(small[3].starts_with("... and ") && small[3].ends_with(" more lines"), "{small:?}");
    // At once, and not with the next second.
    let (before, start) = (pictures(&terminal.drawn()), Instant::now());
    for columns in 60..70 {
        terminal.resize(24, columns);
        std::thread::sleep(millis(20));
    }
    let by_time = || start.elapsed().as_secs() as usize + 1;
    terminal.wait_drawn(LONG, "more pictures than seconds", |drawn| pictures(drawn) > before + by_time());
    terminal.wait_drawn(LONG, "all of it", |drawn| picture(drawn).last().unwrap().starts_with("ready: every service"));
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    let (_fakes, _data, galeway) = two();
    let mut terminal = Terminal::start(24, 100, &mut watch(&galeway));
    terminal.wait_drawn(LONG, "a picture", |drawn| pictures(drawn) > 0 && complete(drawn));
    terminal.type_key(CTRL_Z);
    terminal.wait_drawn(LONG, "the terminal is given back", |drawn| drawn.ends_with(LEAVE));
    crate::harness::until(LONG, "it is stopped", || (terminal.state() == 'T').then_some(()));
    assert!(echoes(&terminal));
    terminal.signal(Signal::CONT);
    let again = |drawn: &str| drawn.rsplit_once(ENTER).is_some_and(|(_, drawn)| pictures(drawn) > 0);
    terminal.wait_drawn(LONG, "it is drawn on again", |drawn| again(drawn) && !drawn.ends_with(LEAVE));
    assert!(!echoes(&terminal));
    terminal.type_key(CTRL_C);
    assert_eq!(terminal.wait(LONG).code(), Some(0));
    assert!(echoes(&terminal));
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_is_written_to() {
    let (_fakes, _data, galeway) = two();
    let watch = watch(&galeway);
    let mut dumb = Command::new("env");
    dumb.arg("TERM=dumb").arg(watch.get_program()).args(watch.get_args());
    let mut terminal = Terminal::start(24, 100, &mut dumb);
    let drawn = terminal.wait_drawn(LONG, "two blocks", |drawn| drawn.matches("\r\n\r\ngaleway ").count() >= 1);
    assert!(!drawn.contains('\x1b'), "{drawn:?}");
    terminal.type_key(CTRL_C);
    assert_eq!(terminal.wait(LONG).code(), Some(0));
}
