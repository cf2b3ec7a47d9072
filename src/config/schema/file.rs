//! Files and directories that the file names.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::super::reader::{Table, Value};
use super::super::source::quote;

/// The path of a file that can be read now; its content is for whoever uses it.
pub(super) fn file(table: &Table<'_>, key: &str) -> Option<PathBuf> {
    let value = table.get(key)?;
    let written = value.string("the path of a file")?;
    let path = table.doc.path(written);
    if written.is_empty() {
        let help = format!("leave `{key}` out where there is none");
        table.doc.error(value.span, format!("`{key}` is empty"), Some(help));
        return None;
    }
    if let Err(reason) = readable(&path) {
        unreadable(table, &value, &path, &reason);
        return None;
    }
    Some(path)
}

/// Opening a directory works; only reading it shows what it is.
fn readable(path: &Path) -> std::io::Result<()> {
    File::open(path)?.read(&mut [0]).map(drop)
}

/// Notes a file that cannot be read.
pub(super) fn unreadable(table: &Table<'_>, value: &Value<'_>, path: &Path, reason: &std::io::Error) {
    let written = value.inner.as_str().unwrap_or_default();
    let help = (!Path::new(written).is_absolute()).then(|| "paths are relative to the configuration file".to_owned());
    table.doc.error(value.span, format!("cannot read {}: {reason}", quote(&path.to_string_lossy())), help);
}

/// The paths of files, or of directories, that can be read now: one, or a list of them.
pub(super) fn files_or_directories(table: &Table<'_>, key: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for (written, value) in table.texts(key, "the path of a file or directory, or a list of them") {
        let path = table.doc.path(written);
        if written.is_empty() {
            let help = format!("leave `{key}` out where there is none");
            table.doc.error(value.span, format!("`{key}` is empty"), Some(help));
        } else if let Err(reason) = if path.is_dir() { path.read_dir().map(drop) } else { readable(&path) } {
            unreadable(table, &value, &path, &reason);
        } else if found.contains(&path) {
            table.doc.error(value.span, format!("{} is in this list already", quote(written)), None);
        } else {
            found.push(path);
        }
    }
    found
}

/// The path of a file that will be made, in a directory that is there; `None` where the text is empty. It is made once `root`
/// is the process's root directory, and found from there.
pub(super) fn file_to_make(value: &Value<'_>, what: &str, root: Option<&Path>) -> Option<PathBuf> {
    let written = value.string(&format!("the path of {what}, or \"\" for none"))?;
    if written.is_empty() {
        return None;
    }
    if written.contains('\0') {
        value.doc.error(value.span, "a path holds no zero byte", None);
        return None;
    }
    let path = value.doc.path(written);
    let shown = |path: &Path| quote(&path.to_string_lossy());
    let there = match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(&path)),
        None => path.clone(),
    };
    let directory = there.parent().filter(|_| there.file_name().is_some() && !there.is_dir());
    match directory {
        None => {
            value.doc.error(value.span, format!("{} is a directory: {what} needs a name in it", shown(&there)), None)
        }
        Some(directory) if !directory.is_dir() => {
            let help = "make it, owned by the user that Galeway runs as".to_owned();
            let message = format!("there is no directory {} for {what}", shown(directory));
            value.doc.error(value.span, message, Some(help));
        }
        Some(_) => {}
    }
    Some(path)
}
