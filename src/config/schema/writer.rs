//! `[cluster.NAME.writer]`.

use super::super::diagnostic::Span;
use super::super::model::{Agreement, Failback, RecordLogin, Writer};
use super::super::nearest::nearest;
use super::super::reader::{ANY_TIME, Read, SOME_TIME, Table, Value};
use super::super::source::quote;
use super::super::words;
use super::secret;

/// Characters of `cluster_name` in the table of the record.
const RECORD_NAME: usize = 64;

/// The section, where it is written, of a cluster of this name whose monitor logs in as `monitor`, and where a word about the choice as such belongs.
pub(super) fn read(name: &str, table: Option<&Table<'_>>, monitor: &str) -> (Writer, Option<Span>) {
    let default = Writer::default();
    let Some(table) = table else { return (default, None) };
    let failback = table.get("failback").and_then(|value| failback(&value)).unwrap_or(default.failback);
    let donor_grace = table.duration("donor_grace", default.donor_grace, ANY_TIME).value;
    let agreement = table.choice("agreement", default.agreement, words::AGREEMENT);
    let login = login(table, agreement, monitor);
    if agreement.value == Agreement::Cluster && name.chars().count() > RECORD_NAME {
        let help = format!("the record galeway.writer holds {RECORD_NAME} characters of it");
        let message = "this cluster's name is too long for agreement = \"cluster\"".to_owned();
        table.doc.error(agreement.span.unwrap_or(table.span), message, Some(help));
    }
    let place = agreement.span.or(table.key_span("failback")).unwrap_or(table.span);
    (Writer { failback, donor_grace, agreement: agreement.value, login }, Some(place))
}

/// One of two words, or a time.
fn failback(value: &Value<'_>) -> Option<Failback> {
    let text = value.string("\"never\", \"immediate\" or a duration")?;
    if let Some((_, word)) = words::FAILBACK.iter().find(|(word, _)| *word == text) {
        return Some(*word);
    }
    if text.starts_with(|char: char| char.is_ascii_digit()) {
        return value.duration("failback", &SOME_TIME).map(Failback::After);
    }
    let help = match nearest(text, words::FAILBACK.iter().map(|(word, _)| *word)) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => "\"never\", \"immediate\", or how long the node must have been well: \"10m\"".to_owned(),
    };
    value.doc.error(value.span, format!("`failback` cannot be {}", quote(text)), Some(help));
    None
}

/// The account for the record, which only `agreement = "cluster"` needs.
fn login(table: &Table<'_>, agreement: Read<Agreement>, monitor: &str) -> Option<RecordLogin> {
    let doc = table.doc;
    let password = secret::read(table);
    let user = table.get("user").and_then(|value| Some((value.span, value.string("the name of an account")?)));
    if !agreement.good {
        return None;
    }
    if agreement.value == Agreement::Local {
        for key in ["user", "password", "password_file", "password_env"] {
            if let Some(span) = table.key_span(key) {
                let help = "no record is read then; write agreement = \"cluster\", or leave the account out".to_owned();
                doc.error(span, format!("`{key}` is not used with agreement = \"local\""), Some(help));
            }
        }
        return None;
    }
    let grant = "an account of its own with SELECT, INSERT and UPDATE on galeway.writer";
    let Some((span, user)) = user else {
        if !table.has("user") {
            let help = format!("write user = \"…\" and password_file = \"…\": {grant}");
            let message = "agreement = \"cluster\" needs a `user` that reads and writes the record";
            doc.missing(Some(agreement.span.unwrap_or(table.span)), message, help);
        }
        return None;
    };
    if user.is_empty() {
        doc.error(span, "`user` is empty", Some(format!("name {grant}")));
    } else if user == monitor {
        let help = format!("the check's account must not be able to write; name {grant}");
        doc.error(span, format!("{} is the monitor's user", quote(user)), Some(help));
    }
    Some(RecordLogin { user: user.to_owned(), password })
}
