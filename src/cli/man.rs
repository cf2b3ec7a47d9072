//! `galeway man`: a manual page for each command, made of what its `--help` says, and galeway.toml(5).

mod toml;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, say, wrong};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ManArgs {
    /// Which page: a command, or galeway.toml for the configuration's [default: that of galeway itself]
    #[arg(value_name = "PAGE", conflicts_with = "dir")]
    page: Option<String>,
    /// Write all pages into this directory instead: galeway.1, galeway-run.1, …, galeway.toml.5
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
The page goes to standard output as man(7) text. Debian's package has all of them installed already.

Examples:
  galeway man recover | man -l -                     read one
  galeway man --dir /usr/local/share/man/man1        install them; galeway.toml.5 belongs into man5

Exit codes: 0 printed or written; 2 no such page, or it cannot be written.";

/// The title of what manual pages call the manual.
const MANUAL: &str = "Galeway";

/// A page that is no command's.
const CONFIGURATION: &str = "galeway.toml";

/// A manual page: the name of its file, and its text.
struct Page {
    file: String,
    text: Vec<u8>,
}

pub(super) fn run(args: &ManArgs) -> ExitCode {
    let pages = match pages() {
        Ok(pages) => pages,
        Err(e) => return wrong(format_args!("cannot make the pages: {e}")),
    };
    if let Some(dir) = &args.dir {
        return match pages.iter().try_for_each(|page| write(dir, page)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => wrong(message),
        };
    }
    let file = match args.page.as_deref() {
        None | Some("galeway") => "galeway.1".to_owned(),
        Some(CONFIGURATION) => format!("{CONFIGURATION}.5"),
        Some(command) => format!("galeway-{}.1", command.trim_start_matches("galeway-")),
    };
    match pages.iter().find(|page| page.file == file) {
        Some(page) => {
            say(&String::from_utf8_lossy(&page.text));
            ExitCode::SUCCESS
        }
        None => {
            let known = pages.iter().map(|page| page.file.trim_end_matches([',', '.', '1', '5']));
            let known: Vec<&str> = known.map(|name| name.trim_start_matches("galeway-")).collect();
            wrong(format_args!(
                "there is no page {:?}; there is {}",
                args.page.as_deref().unwrap_or(""),
                known.join(", ")
            ))
        }
    }
}

fn write(dir: &Path, page: &Page) -> Result<(), String> {
    let path = dir.join(&page.file);
    std::fs::write(&path, &page.text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// All of them, that of galeway itself first.
fn pages() -> io::Result<Vec<Page>> {
    let mut all = Cli::command().disable_help_subcommand(true);
    // Names, usage and flags of all commands reach a subcommand's own description only by this.
    all.build();
    let mut pages = vec![page(&all, &format!("{CONFIGURATION}(5)"))?];
    for command in all.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(page(command, &format!("galeway(1), {CONFIGURATION}(5)"))?);
    }
    pages.push(Page { file: format!("{CONFIGURATION}.5"), text: toml::page(MANUAL)? });
    Ok(pages)
}

fn page(command: &Command, see_also: &str) -> io::Result<Page> {
    let source = format!("galeway {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual(MANUAL);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        after_help(&help.to_string()).to_writer(&mut text)?;
    }
    let mut end = Roff::new();
    end.control("SH", ["SEE ALSO"]).text([roman(see_also)]);
    end.to_writer(&mut text)?;
    Ok(Page { file: man.get_filename(), text })
}

/// What `--help` says behind the options. `Word:` at the start of a line begins a section; indented lines stay as they are.
///
/// The generator's own way fills all of it into one paragraph, examples included.
fn after_help(help: &str) -> Roff {
    let mut roff = Roff::new();
    let mut begun = false;
    let mut lines = help.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            roff.control("PP", []);
        } else if line.starts_with(' ') {
            roff.control("nf", []);
            roff.text([roman(line)]);
            while let Some(next) = lines.next_if(|next| next.starts_with(' ')) {
                roff.text([roman(next)]);
            }
            roff.control("fi", []);
        } else if let Some((title, rest)) = section(line) {
            roff.control("SH", [title.as_str()]);
            if !rest.is_empty() {
                roff.text([roman(rest)]);
            }
            begun = true;
        } else {
            if !begun {
                roff.control("SH", ["NOTES"]);
                begun = true;
            }
            roff.text([roman(line)]);
        }
    }
    roff
}

fn section(line: &str) -> Option<(String, &str)> {
    let (title, rest) = line.split_once(':')?;
    let words = title.split(' ').count() <= 2 && title.chars().all(|c| c.is_ascii_alphabetic() || c == ' ');
    // What manual pages call it.
    let title = if title == "Exit codes" { "EXIT STATUS".to_owned() } else { title.to_uppercase() };
    (words && (rest.is_empty() || rest.starts_with(' '))).then(|| (title, rest.trim_start()))
}

/// A page's title and the section NAME.
fn head(name: &str, section: &str, manual: &str, about: &str) -> Roff {
    let source = format!("galeway {}", env!("CARGO_PKG_VERSION"));
    let mut roff = Roff::new();
    roff.control("TH", [name, section, "", source.as_str(), manual]);
    roff.control("SH", ["NAME"]).text([bold(name), roman(format!(" - {about}"))]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_options_keeps_its_lines() {
        let text = after_help("Alone.\n\nExamples:\n  galeway run\n  galeway check\n\nExit codes: 0 yes").to_roff();
        let said: Vec<&str> = text.lines().collect();
        assert_eq!(
            said,
            [
                ".SH NOTES",
                "Alone.",
                ".PP",
                ".SH EXAMPLES",
                ".nf",
                "  galeway run",
                "  galeway check",
                ".fi",
                ".PP",
                ".SH \"EXIT STATUS\"",
                "0 yes"
            ]
        );
        assert!(section("As stunnel it becomes a daemon: so").is_none());
        assert!(section("https://example.org").is_none());
    }

    #[test]
    fn every_command_and_the_configuration_have_a_page() {
        let pages = pages().unwrap();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files.first(), Some(&"galeway.1"));
        assert_eq!(files.last(), Some(&"galeway.toml.5"));
        for command in Cli::command().get_subcommands() {
            assert!(files.contains(&format!("galeway-{}.1", command.get_name()).as_str()), "{files:?}");
        }
    }
}
