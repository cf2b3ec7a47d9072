//! A secret from one of its three places: the file itself, a file of its own, the environment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::super::reader::{Table, Value};
use super::super::secret::Secret;
use super::super::source::quote;
use super::file::unreadable;

/// No secret is longer; whatever is, is another file.
const MOST: u64 = 64 * 1024;

/// The password; empty if none was given. At most one of the keys may be.
pub(super) fn read(table: &Table<'_>) -> Secret {
    const KEYS: [&str; 3] = ["password", "password_file", "password_env"];
    let mut written: Vec<_> = KEYS.iter().filter_map(|key| Some((*key, table.key_span(key)?))).collect();
    written.sort_by_key(|(_, span)| span.start);
    if let Some((first, _)) = written.first() {
        for (key, span) in written.iter().skip(1) {
            let help = Some(format!("keep one of {}", KEYS.map(|key| format!("`{key}`")).join(", ")));
            table.doc.error(*span, format!("`{key}` contradicts `{first}`"), help);
        }
    }
    // All that are written are read, so that each shows its own errors; the first one counts.
    let plain = table.get("password").and_then(|value| value.string("a string")).map(Secret::new);
    let file = table.get("password_file").and_then(|value| from_file(table, value));
    let variable = table.get("password_env").and_then(|value| from_environment(table, value));
    plain.or(file).or(variable).unwrap_or_default()
}

/// What a change over TCP has to show: one word from a file; `None` where no file is named.
pub(super) fn token(table: &Table<'_>) -> Option<Secret> {
    let value = table.get("token_file")?;
    let written = value.string("the path of a file, or \"\" for none")?;
    if written.is_empty() {
        return None;
    }
    let text = text_of_file(table, &value, written, "token")?;
    let shown = quote(&table.doc.path(written).to_string_lossy());
    if text.is_empty() {
        let help = "put a long random word into it, for example from: openssl rand -hex 32".to_owned();
        table.doc.error(value.span, format!("{shown} is empty: anybody would have the token"), Some(help));
        return None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let help = "it travels in a header: letters, digits and signs, on one line".to_owned();
        table.doc.error(
            value.span,
            format!("{shown} holds more than one word, or characters beyond ASCII"),
            Some(help),
        );
        return None;
    }
    Some(Secret::new(text))
}

/// What opens a private key: the text of a file; `None` where no file is named.
pub(super) fn passphrase(table: &Table<'_>) -> Option<Secret> {
    let value = table.get("passphrase_file")?;
    let written = value.string("the path of a file")?;
    if written.is_empty() {
        let help = "leave it out for a key that is not encrypted".to_owned();
        table.doc.error(value.span, "`passphrase_file` is empty", Some(help));
        return None;
    }
    Some(Secret::new(text_of_file(table, &value, written, "passphrase")?))
}

fn from_file(table: &Table<'_>, value: Value<'_>) -> Option<Secret> {
    let written = value.string("the path of a file")?;
    if written.is_empty() {
        let help = "leave it out for an account without a password".to_owned();
        table.doc.error(value.span, "`password_file` is empty", Some(help));
        return None;
    }
    let text = text_of_file(table, &value, written, "password")?;
    let shown = quote(&table.doc.path(written).to_string_lossy());
    if text.is_empty() {
        table.doc.warning(value.span, format!("{shown} is empty: logging in without a password"), None);
    } else if text.contains('\n') {
        let help = "only the newline at its end is cut off".to_owned();
        table.doc.warning(value.span, format!("{shown} has several lines, all part of the password"), Some(help));
    }
    Some(Secret::new(text))
}

/// The text of a file that holds one secret and nothing else, the newline at its end cut.
fn text_of_file(table: &Table<'_>, value: &Value<'_>, written: &str, what: &str) -> Option<String> {
    let path = table.doc.path(written);
    let shown = quote(&path.to_string_lossy());
    let bytes = match read_file(&path) {
        Ok(bytes) => bytes,
        Err(reason) => {
            unreadable(table, value, &path, &reason);
            return None;
        }
    };
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST) {
        table.doc.error(value.span, format!("{shown} is longer than 64 kB: not a {what}"), None);
        return None;
    }
    let Ok(mut text) = String::from_utf8(bytes) else {
        table.doc.error(value.span, format!("{shown} is not UTF-8 text"), None);
        return None;
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Some(text)
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn from_environment(table: &Table<'_>, value: Value<'_>) -> Option<Secret> {
    let name = value.string("the name of an environment variable")?;
    // The system's look-up takes neither, and they are no names anyway.
    if name.is_empty() || name.contains(['=', '\0']) {
        table.doc.error(value.span, format!("{} is not the name of an environment variable", quote(name)), None);
        return None;
    }
    let Some(content) = table.doc.variable(name) else {
        table.doc.error(value.span, format!("the environment variable {} is not set", quote(name)), None);
        return None;
    };
    let Ok(text) = content.into_string() else {
        table.doc.error(value.span, format!("the environment variable {} is not UTF-8 text", quote(name)), None);
        return None;
    };
    if text.is_empty() {
        let message = format!("the environment variable {} is empty: logging in without a password", quote(name));
        table.doc.warning(value.span, message, None);
    }
    Some(Secret::new(text))
}
