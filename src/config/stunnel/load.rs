//! The two ways in, and the order of files and sections.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use super::super::diagnostic::Diagnostics;
use super::super::source::quote;
use super::apply::{self, Given};
use super::lines::{self, Piece, lines};
use super::names::{self, Account};
use super::notes::{At, Notes};
use super::options::{self, Known, Scope};
use super::resolve;
use super::settings::{Global, Settings};
use super::{Stunnel, refused, traps};

/// A thousand sections fit many times over; a device or a log given by mistake does not.
const MOST: u64 = 4 * 1024 * 1024;

/// Files that one may include, all of them together, and the bytes in them: a directory that includes itself ends here.
const MOST_FILES: usize = 1000;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Files within files.
const DEEPEST: usize = 8;

/// What a file is read against.
pub(super) struct World<'a> {
    /// Where relative paths start: stunnel's are relative to where it was started.
    pub(super) directory: PathBuf,
    /// The addresses of a host name.
    pub(super) lookup: &'a dyn Fn(&str) -> io::Result<Vec<IpAddr>>,
    /// Whether there is a user or group of a name.
    pub(super) knows: &'a dyn Fn(Account, &str) -> bool,
    /// The root directory is the new one already.
    pub(super) inside: bool,
}

/// What was read: the process and the sections.
pub(super) struct Sections {
    pub(super) global: Global,
    /// What stood before the first section.
    pub(super) defaults: Settings,
    pub(super) sections: Vec<Settings>,
    /// A line that may have been meant for a section's is wrong.
    pub(super) incomplete: bool,
}

/// Reads and checks a stunnel.conf.
///
/// # Errors
/// Everything that is wrong with it and the files it includes, warnings included, file by file.
pub fn load(path: &Path) -> Result<Stunnel, Diagnostics> {
    read_file(path).map(|read| read.stunnel)
}

/// The same in a process that is in its `chroot` already, as stunnel reads a file again: every path counts from there, the file's
/// own too.
///
/// # Errors
/// As [`load`].
pub fn load_inside(path: &Path) -> Result<Stunnel, Diagnostics> {
    read_at(path, true).map(|read| read.stunnel)
}

/// [`load`], with all that was read on the way.
pub(super) fn read_file(path: &Path) -> Result<Read, Diagnostics> {
    read_at(path, false)
}

fn read_at(path: &Path, inside: bool) -> Result<Read, Diagnostics> {
    match text_of(path) {
        Ok(text) => read_here(&text, path, inside),
        Err((message, help)) => {
            let mut notes = Notes::default();
            notes.unreadable(path, message, help);
            Err(notes.into_diagnostics(path))
        }
    }
}

/// Checks the text of a stunnel.conf. `file` names it in messages; relative paths start where the process was started.
///
/// # Errors
/// Everything that is wrong with it, warnings included, in the order of the file.
pub fn parse(text: &str, file: &Path) -> Result<Stunnel, Diagnostics> {
    read_here(text, file, false).map(|read| read.stunnel)
}

fn read_here(text: &str, file: &Path, inside: bool) -> Result<Read, Diagnostics> {
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    read_in(text, file, &World { directory, lookup: &system, knows: &names::known, inside })
}

/// The system's resolver.
fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// A file that can be used, and its parts as they were written.
pub(super) struct Read {
    pub(super) stunnel: Stunnel,
    pub(super) sections: Sections,
    lines: Vec<(PathBuf, Vec<usize>)>,
}

impl Read {
    /// Where this is, for people.
    pub(super) fn line(&self, at: At) -> String {
        let Some((path, starts)) = self.lines.get(at.file) else { return String::new() };
        let line = starts.partition_point(|start| *start <= at.span.start);
        if at.file == 0 { format!("line {line}") } else { format!("line {line} of {}", path.display()) }
    }
}

/// Reads a text in a world of the caller's making.
pub(super) fn read_in(text: &str, file: &Path, world: &World<'_>) -> Result<Read, Diagnostics> {
    let mut notes = Notes::default();
    let sections = read(text, file, world, &mut notes);
    let (config, launch) = resolve::resolve(&sections, world, &mut notes);
    let refused = notes.refused();
    let lines = notes.lines();
    let diagnostics = notes.into_diagnostics(file);
    if refused {
        return Err(diagnostics);
    }
    Ok(Read { stunnel: Stunnel { config, launch, warnings: diagnostics }, sections, lines })
}

fn read(text: &str, file: &Path, world: &World<'_>, notes: &mut Notes) -> Sections {
    let mut reader = Reader {
        world,
        notes,
        files: 0,
        bytes: 0,
        depth: 0,
        remarks: Vec::new(),
        out: Sections { global: Global::default(), defaults: Settings::new(), sections: Vec::new(), incomplete: false },
    };
    reader.file(file, text);
    reader.out
}

/// The text of a file. Comments in another encoding than UTF-8 are common and harm nobody.
fn text_of(path: &Path) -> Result<String, (String, Option<&'static str>)> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(reason) => {
            return Err(match reason.kind() {
                io::ErrorKind::NotFound => ("there is no such file".to_owned(), Some("name another")),
                io::ErrorKind::IsADirectory => ("this is a directory, not a configuration file".to_owned(), None),
                io::ErrorKind::PermissionDenied => {
                    ("no permission to read it".to_owned(), Some("see its owner and mode, and its directories'"))
                }
                _ => (format!("cannot read it: {reason}"), None),
            });
        }
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST) {
        return Err(("it is larger than 4 MiB: not a configuration file".to_owned(), None));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Reader<'a, 'w> {
    world: &'a World<'w>,
    notes: &'a mut Notes,
    files: usize,
    bytes: usize,
    depth: usize,
    /// The comments since the last line that was none.
    remarks: Vec<String>,
    out: Sections,
}

impl Reader<'_, '_> {
    fn file(&mut self, path: &Path, text: &str) {
        let file = self.notes.open(path, text);
        self.files += 1;
        self.bytes += text.len();
        for line in lines(text) {
            match line {
                lines::Line::Comment(comment) => self.comment(file, comment),
                lines::Line::Section(name) => self.section(file, name),
                lines::Line::Option(name, value) => self.option(file, name, value),
                lines::Line::Broken(line) => self.broken(file, line),
            }
        }
    }

    fn comment(&mut self, file: usize, comment: Piece<'_>) {
        traps::comment(self.notes, file, comment);
        let text =
            comment.text.trim_matches(|char: char| lines::blank(char) || matches!(char, ';' | '#' | '*' | '-' | '='));
        if !text.is_empty() && !traps::turned_off(comment) {
            self.remarks.push(text.to_owned());
        }
    }

    fn section(&mut self, file: usize, name: Piece<'_>) {
        let at = At { file, span: name.span };
        if name.text.is_empty() {
            self.notes.error(at, "this section has no name", "write [NAME]; log lines and metrics show it");
        }
        if name.text.contains(char::is_control) || name.text.contains('\u{fffd}') {
            self.notes.error(at, "a section's name holds no control characters and is UTF-8", "");
        }
        let remarks = std::mem::take(&mut self.remarks);
        self.out.sections.push(self.out.defaults.section(name.text, at, remarks));
    }

    fn broken(&mut self, file: usize, line: Piece<'_>) {
        let is_header = line.text.starts_with('[');
        self.out.incomplete |= is_header;
        if let Some(option) = line.text.split(lines::blank).next().and_then(options::known) {
            self.current().wrong.push(option.name);
        }
        let help = if is_header {
            "a section's line ends with `]`; a comment is a line of its own"
        } else {
            "write NAME = VALUE, [SECTION], or a comment that begins with ; or #"
        };
        self.notes.error(At { file, span: line.span }, "no `=` stands here", help);
    }

    /// What lines are about here: a section, or before the first the defaults of all.
    fn current(&mut self) -> &mut Settings {
        self.out.sections.last_mut().unwrap_or(&mut self.out.defaults)
    }

    fn option(&mut self, file: usize, name: Piece<'_>, value: Piece<'_>) {
        let errors = self.notes.errors();
        self.one_option(file, name, value);
        if self.notes.errors() > errors {
            let meant = options::known(name.text).map(|option| option.name).or_else(|| options::meant(name.text));
            let wrong = meant.into_iter().chain(traps::second(value));
            self.current().wrong.extend(wrong);
        }
    }

    fn one_option(&mut self, file: usize, name: Piece<'_>, value: Piece<'_>) {
        self.remarks.clear();
        let name_at = At { file, span: name.span };
        let Some(option) = options::known(name.text) else {
            return self.unknown(name_at, name.text, value);
        };
        let at = if value.text.is_empty() { name_at } else { At { file, span: value.span } };
        if option.secret {
            self.notes.hide(at);
        }
        if option.scope == Scope::Global && !self.out.sections.is_empty() {
            let message = format!("`{}` is about the whole process", option.name);
            return self.notes.error(name_at, message, "move it before the first [section]");
        }
        if value.text.contains('\u{fffd}') || value.text.contains('\0') {
            return self.notes.error(at, format!("the value of `{}` is not UTF-8 text", option.name), "");
        }
        let key = option.name.to_ascii_lowercase();
        // A section decides, once all of it is known.
        if let Some(refusal) = refused::always(&key).filter(|_| !self.is_idle_exec(&key)) {
            return self.notes.error(
                name_at,
                format!("`{}` is refused: {}", option.name, refusal.why),
                refusal.instead,
            );
        }
        if let Some(why) = refused::idle(&key) {
            return self.notes.warning(name_at, format!("`{}` has no effect here: {why}", option.name), "");
        }
        if let Some(second) = traps::second(value) {
            let message = format!("`{second} =` stands in the value of `{}`, and so is not read", option.name);
            return self.notes.error(at, message, "give each option a line of its own");
        }
        if traps::remark(value.text) {
            let message = format!("what stands behind the value of `{}` belongs to it", option.name);
            return self.notes.error(at, message, "a comment is a line of its own, which begins with ; or #");
        }
        self.known(option, Given { name: option.name, value: value.text, at }, &key);
    }

    /// Whether it is the program of a section, which may stand there without being run: see `Settings::exec`.
    fn is_idle_exec(&self, key: &str) -> bool {
        matches!(key, "exec" | "execargs") && !self.out.sections.is_empty()
    }

    fn unknown(&mut self, at: At, name: &str, value: Piece<'_>) {
        // The value may be the secret of the option that was meant.
        self.notes.hide(At { file: at.file, span: value.span });
        let help = match options::meant(name) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "see docs/stunnel.md for the options there are".to_owned(),
        };
        self.notes.error(at, format!("there is no option {}", quote(name)), help);
    }

    fn known(&mut self, option: &Known, line: Given<'_>, key: &str) {
        if key == "include" {
            return self.include(line);
        }
        if option.scope == Scope::Global {
            return apply::global(&mut self.out.global, line, self.world, self.notes);
        }
        let global = self.out.sections.is_empty();
        let settings = self.out.sections.last_mut().unwrap_or(&mut self.out.defaults);
        if key == "debug"
            && global
            && let Some(facility) = apply::facility(line)
        {
            self.out.global.facility = facility;
        }
        apply::service(settings, line, key, global, self.world, self.notes);
    }

    /// The regular files of a directory, in the order of their names; a section may go on from one to the next.
    fn include(&mut self, line: Given<'_>) {
        let directory = self.world.directory.join(line.value);
        let listed = std::fs::read_dir(&directory).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()
        });
        let mut paths = match listed {
            Ok(paths) => paths,
            Err(reason) => {
                let message = format!("{} cannot be included: {reason}", quote(line.value));
                return self.notes.error(
                    line.at,
                    message,
                    "name a directory; the files in it are read in the order of their names",
                );
            }
        };
        paths.sort();
        for path in paths.into_iter().filter(|path| path.is_file()) {
            if self.files >= MOST_FILES || self.bytes >= MOST_BYTES || self.depth >= DEEPEST {
                let message =
                    format!("more than {MOST_FILES} files, 16 MiB or {DEEPEST} files in each other are included");
                return self.notes.error(line.at, message, "a directory may not include itself");
            }
            match text_of(&path) {
                Ok(text) => {
                    self.depth += 1;
                    self.file(&path, &text);
                    self.depth -= 1;
                }
                Err((message, help)) => self.notes.unreadable(&path, message, help),
            }
        }
    }
}
