//! Typed reads that note an error and go on.
//!
//! A reader always returns a value, the default where the written one is bad; a noted error is what keeps the result
//! from being used. So one pass finds everything, and `schema` needs no error paths.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::Span;
use super::doc::Doc;
use super::duration;
use super::keys::{SECTIONS, Section};
use super::nearest::nearest;
use super::source::quote;
use super::words::Words;

/// A time that may be none.
pub(super) const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=duration::LONGEST;
/// A time that has to pass. Timers are no finer than this.
pub(super) const SOME_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=duration::LONGEST;

/// A value, where it was written, and whether it can be relied on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<T> {
    pub(super) value: T,
    /// Of the written value; `None` where the default holds.
    pub(super) span: Option<Span>,
    /// False where the written value was refused and `value` only stands in for it: then nothing that follows from it
    /// is worth saying.
    pub(super) good: bool,
}

impl<T> Read<T> {
    fn default_of(value: T) -> Self {
        Self { value, span: None, good: true }
    }
}

/// One value of the file.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) doc: &'a Doc<'a>,
    pub(super) span: Span,
    pub(super) inner: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Notes that another type was expected.
    pub(super) fn wrong_type(&self, expected: &str, help: Option<String>) {
        let found = match self.inner {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.doc.error(self.span, format!("expected {expected}, found {found}"), help);
    }

    pub(super) fn string(&self, expected: &str) -> Option<&'a str> {
        let text = self.inner.as_str();
        if text.is_none() {
            self.wrong_type(expected, None);
        }
        text
    }

    fn integer(&self, key: &str, range: &RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = (range.start(), range.end());
        let DeValue::Integer(integer) = self.inner else {
            self.wrong_type(&format!("a whole number from {least} to {most}"), None);
            return None;
        };
        // A number too large for i128 is out of range as well.
        let value =
            i128::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|value| u32::try_from(value).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            self.doc.error(self.span, format!("`{key}` is a whole number from {least} to {most}"), None);
        }
        value
    }

    /// A number from 0 to 1, the two ends without a point as well.
    fn share(&self, key: &str) -> Option<f64> {
        let number = match self.inner {
            DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            _ => {
                self.wrong_type("a number from 0.0 to 1.0", None);
                return None;
            }
        };
        // "nan" lies in no range.
        let number = number.filter(|number: &f64| (0.0..=1.0).contains(number));
        if number.is_none() {
            let help = "it is a share of the time: 0.25 is a quarter of it".to_owned();
            self.doc.error(self.span, format!("`{key}` is a number from 0.0 to 1.0"), Some(help));
        }
        number
    }

    pub(super) fn duration(&self, key: &str, range: &RangeInclusive<Duration>) -> Option<Duration> {
        let expected = "a duration string such as \"500ms\"";
        let text = match self.inner {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 && !number.as_str().starts_with('-') => {
                self.wrong_type(expected, Some(duration::without_unit(number.as_str().trim_start_matches('+'))));
                return None;
            }
            _ => {
                self.wrong_type(expected, None);
                return None;
            }
        };
        match duration::parse(text) {
            Err(malformed) => {
                self.doc.malformed(self.span, malformed);
                None
            }
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(duration) => {
                let message = if duration.is_zero() {
                    format!("`{key}` must be longer than zero")
                } else if duration < *range.start() {
                    format!("`{key}` is at least {}", duration::format(*range.start()))
                } else {
                    format!("`{key}` is at most {}", duration::format(*range.end()))
                };
                self.doc.error(self.span, message, None);
                None
            }
        }
    }

    /// One of these words.
    fn word<T: Copy>(&self, key: &str, words: Words<T>) -> Option<T> {
        let all = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let text = self.string(&format!("one of {}", all()))?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let help = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("one of {}", all()),
        };
        self.doc.error(self.span, format!("`{key}` cannot be {}", quote(text)), Some(help));
        None
    }

    pub(super) fn array(&self) -> Option<&'a DeArray<'a>> {
        self.inner.as_array()
    }

    /// The values of an array.
    pub(super) fn items(&self, array: &'a DeArray<'a>) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let doc = self.doc;
        array.iter().map(move |item| Value { doc, span: item.span().into(), inner: item.get_ref() })
    }
}

/// One section or inline table whose keys have been looked through.
pub(super) struct Table<'a> {
    pub(super) doc: &'a Doc<'a>,
    /// Where it is named: what is missing in it is said here.
    pub(super) span: Span,
    section: &'static Section,
    map: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Takes a table, and notes each key that this kind of section does not have.
    pub(super) fn open(doc: &'a Doc<'a>, span: Span, section: &'static Section, map: &'a DeTable<'a>) -> Self {
        for key in map.keys() {
            let name: &str = key.get_ref();
            if section.now.contains(&name) {
                continue;
            }
            let span = key.span().into();
            if section.later.contains(&name) {
                doc.not_supported(span, name);
            } else {
                unknown_key(doc, span, section, name);
            }
        }
        Self { doc, span, section, map }
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        debug_assert!(self.section.now.contains(&key), "{key} is read but not listed in `keys`");
        let value = self.map.get(key)?;
        Some(Value { doc: self.doc, span: value.span().into(), inner: value.get_ref() })
    }

    /// Whether the key is written, known to this version or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Where a key is written.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.map.get_key_value(key).map(|(key, _)| key.span().into())
    }

    /// A table below this one; `None` where it is absent (or no table, which is noted).
    pub(super) fn table(&self, key: &str, section: &'static Section) -> Option<Table<'a>> {
        let value = self.get(key)?;
        match value.inner {
            DeValue::Table(map) => Some(Table::open(self.doc, self.key_span(key)?, section, map)),
            _ => {
                value.wrong_type(&format!("the section {}", section.header), None);
                None
            }
        }
    }

    /// The tables below `[key.NAME]`, in the order of the file.
    pub(super) fn named(&self, key: &str, section: &'static Section) -> Vec<(&'a str, Table<'a>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let help = || Some(format!("each {key} has a name and a section of its own: [{key}.NAME]"));
        let DeValue::Table(map) = value.inner else {
            value.wrong_type(&format!("sections {}", section.header), help());
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in map.iter() {
            let span = name.span().into();
            match value.get_ref() {
                DeValue::Table(map) => {
                    check_name(self.doc, span, name.get_ref());
                    found.push((name.get_ref().as_ref(), Table::open(self.doc, span, section, map)));
                }
                _ => {
                    let found = quote(name.get_ref());
                    self.doc.error(span, format!("{found} stands in `[{key}]`, which holds only sections"), help());
                }
            }
        }
        found.sort_by_key(|(_, table)| table.span.start);
        found
    }

    pub(super) fn duration(&self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Read<Duration> {
        let Some(value) = self.get(key) else { return Read::default_of(default) };
        let read = value.duration(key, &range);
        Read { value: read.unwrap_or(default), span: Some(value.span), good: read.is_some() }
    }

    /// A duration of which zero means off.
    pub(super) fn duration_or_off(
        &self,
        key: &str,
        default: Option<Duration>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Some(value) = self.get(key) else { return default };
        if value.inner.as_str().is_some_and(|text| duration::parse(text).is_ok_and(|read| read.is_zero())) {
            return None;
        }
        value.duration(key, &range)
    }

    pub(super) fn integer(&self, key: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        self.get(key).and_then(|value| value.integer(key, &range)).unwrap_or(default)
    }

    /// A number that has no default.
    pub(super) fn integer_if_written(&self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        self.get(key).and_then(|value| value.integer(key, &range))
    }

    /// A share of which zero means off.
    pub(super) fn share_or_off(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(|value| value.share(key)).filter(|share| *share > 0.0)
    }

    pub(super) fn boolean(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        let read = value.inner.as_bool();
        if read.is_none() {
            value.wrong_type("true or false", None);
        }
        read.unwrap_or(default)
    }

    pub(super) fn choice<T: Copy>(&self, key: &str, default: T, words: Words<T>) -> Read<T> {
        let Some(value) = self.get(key) else { return Read::default_of(default) };
        let read = value.word(key, words);
        Read { value: read.unwrap_or(default), span: Some(value.span), good: read.is_some() }
    }

    /// A list of words, each with its place, in the order of the file. Without the key it is empty, and so is an empty one.
    pub(super) fn choices<T: Copy + PartialEq>(&self, key: &str, words: Words<T>) -> Vec<(T, Span)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.array() else {
            value.wrong_type("a list", value.inner.as_str().map(|text| format!("write {key} = [\"{text}\"]")));
            return Vec::new();
        };
        let mut found: Vec<(T, Span)> = Vec::new();
        for item in value.items(array) {
            let Some(meaning) = item.word(key, words) else { continue };
            if found.iter().any(|(other, _)| *other == meaning) {
                let written = item.inner.as_str().unwrap_or_default();
                self.doc.error(item.span, format!("{} is in this list already", quote(written)), None);
            }
            found.push((meaning, item.span));
        }
        found
    }

    /// One text or a list of them, each with its place, in the order of the file. Without the key it is empty, and so is an
    /// empty list.
    pub(super) fn texts(&self, key: &str, expected: &str) -> Vec<(&'a str, Value<'a>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let items = match value.array() {
            Some(array) => value.items(array).collect(),
            None => vec![value],
        };
        items.into_iter().filter_map(|item| Some((item.string(expected)?, item))).collect()
    }
}

fn unknown_key(doc: &Doc<'_>, span: Span, section: &'static Section, name: &str) {
    let home = |key: &str| SECTIONS.iter().find(|other| other.keys().any(|known| known == key));
    let help = if let Some(other) = home(name) {
        Some(format!("`{name}` belongs in {}", other.header))
    } else if let Some(key) = nearest(name, section.keys()) {
        let later = if section.now.contains(&key) { "" } else { " (it is not supported yet)" };
        Some(format!("did you mean `{key}`?{later}"))
    } else {
        let key = nearest(name, SECTIONS.iter().flat_map(|other| other.keys()));
        key.and_then(|key| Some(format!("did you mean `{key}`, which belongs in {}?", home(key)?.header)))
    };
    doc.error(span, format!("unknown key {} in {}", quote(name), section.header), help);
}

/// Names stand in URLs, metric labels and messages of 512 bytes: what would have to be escaped there is refused here.
pub(super) fn check_name(doc: &Doc<'_>, span: Span, name: &str) {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | ':' | '[' | ']');
    if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
        let help = "a name is 1 to 128 of: letters, digits, `-`, `_`, `.`, `:`, `[`, `]`".to_owned();
        doc.error(span, format!("{} cannot be a name", quote(name)), Some(help));
    }
}
