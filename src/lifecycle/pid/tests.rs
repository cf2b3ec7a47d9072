//! Files that were left behind, laid as traps, or are being fought for.

use std::time::{Duration, Instant};

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("galeway-pid-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("pid")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn it_holds_our_number_and_goes_with_us() {
    let scratch = Scratch::new("ours");
    // Left behind by a process of another kind that got the number since, or by nobody.
    for left in ["", "1\n", "999999999\n", "no number", "\0\0\0"] {
        std::fs::write(scratch.file(), left).unwrap();
        let pid = PidFile::claim(&scratch.file()).unwrap();
        pid.write().unwrap();
        let text = std::fs::read_to_string(scratch.file()).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(pid);
        assert!(!scratch.file().exists());
    }
}

#[test]
fn a_running_galeways_file_is_not_taken() {
    let scratch = Scratch::new("taken");
    let first = PidFile::claim(&scratch.file()).unwrap();
    first.write().unwrap();
    let said = PidFile::claim(&scratch.file()).unwrap_err().to_string();
    assert!(said.contains(&format!("belongs to process {}", std::process::id())), "{said}");
}

/// A process of this name that waits for the end of its input.
struct Called(std::process::Child);

impl Called {
    fn new(scratch: &Scratch, name: &str) -> Self {
        let program = scratch.0.join(name);
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let mut command = std::process::Command::new(program);
        let child = command.args(["-c", "read line"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let comm = || std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        // It has its name a little after it is spawned.
        let end = Instant::now() + Duration::from_secs(10);
        while comm().trim() != name {
            assert!(Instant::now() < end, "{}", comm());
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(child)
    }

    /// Its number, left in the file, which nobody locks.
    fn left(&self, scratch: &Scratch) {
        std::fs::write(scratch.file(), format!("{}\n", self.0.id())).unwrap();
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_number_that_is_another_galeways_by_now_does_not_stop_a_start_but_a_stunnels_does() {
    let scratch = Scratch::new("reused");
    let galeway = Called::new(&scratch, "galeway");
    galeway.left(&scratch);
    drop(PidFile::claim(&scratch.file()).unwrap());
    let stunnel = Called::new(&scratch, "stunnel4");
    stunnel.left(&scratch);
    let said = PidFile::claim(&scratch.file()).unwrap_err().to_string();
    assert!(said.contains(&format!("belongs to process {}", stunnel.0.id())), "{said}");
}

#[test]
fn where_there_are_no_locks_a_start_does_without_and_a_galeways_number_counts() {
    let none: [Ask; 5] = [
        |_, _| Err(Errno::ENOLCK),
        |_, _| Err(Errno::EINVAL),
        |_, _| Err(Errno::EOPNOTSUPP),
        |_, _| Err(Errno::ENOSYS),
        // As a descriptor that only reads is answered.
        |file, asked| match asked {
            FcntlArg::F_OFD_SETLK(_) if file.metadata().is_ok_and(|about| about.len() > 0) => Err(Errno::EBADF),
            _ => Err(Errno::ENOLCK),
        },
    ];
    for (case, ask) in none.into_iter().enumerate() {
        let scratch = Scratch::new(&format!("lockless-{case}"));
        let claim = || PidFile::claim_by(&scratch.file(), ask);
        for left in ["", "1\n", "999999999\n"] {
            std::fs::write(scratch.file(), left).unwrap();
            let pid = claim().unwrap();
            pid.write().unwrap();
            let text = std::fs::read_to_string(scratch.file()).unwrap();
            assert_eq!(text, format!("{}\n", std::process::id()));
        }
        let galeway = Called::new(&scratch, "galeway");
        galeway.left(&scratch);
        let said = claim().unwrap_err().to_string();
        assert!(said.contains(&format!("belongs to process {}", galeway.0.id())), "{said}");
        drop(galeway);
        claim().expect("it has ended");
    }
}

#[test]
fn one_that_somebody_put_in_its_place_stays() {
    let scratch = Scratch::new("place");
    let pid = PidFile::claim(&scratch.file()).unwrap();
    std::fs::remove_file(scratch.file()).unwrap();
    std::fs::write(scratch.file(), "theirs").unwrap();
    drop(pid);
    assert_eq!(std::fs::read_to_string(scratch.file()).unwrap(), "theirs");
}

#[test]
fn what_a_link_points_to_is_left_alone() {
    let scratch = Scratch::new("link");
    let precious = scratch.0.join("precious");
    std::fs::write(&precious, "text").unwrap();
    for link in
        [|at: &Path, to: &Path| std::os::unix::fs::symlink(at, to), |at: &Path, to: &Path| std::fs::hard_link(at, to)]
    {
        link(&precious, &scratch.file()).unwrap();
        let pid = PidFile::claim(&scratch.file()).unwrap();
        pid.write().unwrap();
        assert_eq!(std::fs::read_to_string(scratch.file()).unwrap(), format!("{}\n", std::process::id()));
        drop(pid);
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "text");
    }
}

#[test]
fn a_link_to_a_running_galeways_file_does_not_stop_another_one() {
    let scratch = Scratch::new("other");
    let other = scratch.0.join("other");
    let running = PidFile::claim(&other).unwrap();
    running.write().unwrap();
    std::fs::hard_link(&other, scratch.file()).unwrap();
    PidFile::claim(&scratch.file()).unwrap();
}

#[test]
fn whoever_can_only_read_a_file_that_was_left_behind_does_not_stop_a_start() {
    let scratch = Scratch::new("locked");
    std::fs::write(scratch.file(), "999999999\n").unwrap();
    let reader = File::open(scratch.file()).unwrap();
    reader.lock().unwrap();
    fcntl(&reader, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK))).unwrap();
    fcntl(&reader, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))).expect_err("that needs a descriptor for writing");
    PidFile::claim(&scratch.file()).unwrap();
}

#[test]
fn one_that_is_being_started_is_told_of_without_a_number() {
    let scratch = Scratch::new("starting");
    let _first = PidFile::claim(&scratch.file()).unwrap();
    let said = PidFile::claim(&scratch.file()).unwrap_err().to_string();
    assert!(said.contains("belongs to a process that is being started"), "{said}");
}

#[test]
fn of_many_that_are_started_at_once_one_has_the_file() {
    let scratch = Scratch::new("once");
    for round in 0..200 {
        std::fs::write(scratch.file(), "999999999\n").unwrap();
        let (path, gate) = (scratch.file(), std::sync::Barrier::new(4));
        let claim = || {
            gate.wait();
            let pid = PidFile::claim(&path).ok()?;
            pid.write().unwrap();
            Some(pid)
        };
        let won = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
            all.into_iter().filter_map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(won.len(), 1, "round {round}");
        assert!(path.exists());
    }
}

#[test]
fn what_is_no_file_is_left_where_it_is() {
    let scratch = Scratch::new("kinds");
    let said = |path: &Path| PidFile::claim(path).unwrap_err().to_string();
    assert!(said(&scratch.0).ends_with("there is a directory of this name"), "{}", said(&scratch.0));
    let null = Path::new("/dev/null");
    assert!(said(null).ends_with("there is a device of this name"), "{}", said(null));
    let _socket = std::os::unix::net::UnixListener::bind(scratch.file()).unwrap();
    assert!(said(&scratch.file()).ends_with("there is a socket of this name"));
    assert!(scratch.file().exists());
}

#[test]
fn everybody_may_read_it() {
    let scratch = Scratch::new("mode");
    let _pid = PidFile::claim(&scratch.file()).unwrap();
    assert_eq!(std::fs::metadata(scratch.file()).unwrap().mode() & 0o777, MODE);
}
