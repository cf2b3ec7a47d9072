//! Plain lines out of the forms in which logs are kept: compressed by gzip, in UTF-16, inside JSON, with colours.
//!
//! What a form costs is bounded: a line is cut at [`MOST_LINE`], and a text may not be longer than a limit once it is
//! unpacked.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// The longest text that is read, unpacked. A compressed file of 1 MiB may hold a thousand times as much.
pub(super) const MOST_TEXT: u64 = 1024 * 1024 * 1024;
/// The rest of a longer line is skipped: what is looked for stands at its beginning.
const MOST_LINE: u64 = 64 * 1024;
/// Bytes by which a form is known.
const SNIFFED: u64 = 16;
/// Bytes of UTF-16 that are decoded at a time. Even.
const UTF16_CHUNK: u64 = 8 * 1024;

/// Forms that are known and not read: how they begin, and what to do.
const REFUSED: [(&[u8], &str); 6] = [
    (b"\xfd7zXZ\0", "it is compressed by xz: unpack it first (xz -dk)"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd: unpack it first (zstd -dk)"),
    (b"BZh", "it is compressed by bzip2: unpack it first (bzip2 -dk)"),
    (b"\x04\x22\x4d\x18", "it is compressed by lz4: unpack it first (lz4 -dk)"),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"LPKSHHRH", "it is a journal of systemd: give what `journalctl --file FILE -o cat` prints"),
];

/// The text of `source`, which ends at the first byte beyond `limit` with an error.
pub(super) fn decoded<'a>(mut source: impl Read + 'a, limit: u64) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut head = Vec::new();
    source.by_ref().take(SNIFFED).read_to_end(&mut head)?;
    if let Some((_, why)) = REFUSED.iter().find(|(begin, _)| head.starts_with(begin)) {
        return Err(io::Error::other(*why));
    }
    let is_gzip = head.starts_with(b"\x1f\x8b");
    // A text in UTF-16 that begins with a Latin letter shows itself even without a byte order mark.
    let big_endian = match head.as_slice() {
        [0xff, 0xfe, ..] | [1..=255, 0, 1..=255, 0, ..] => Some(false),
        [0xfe, 0xff, ..] | [0, 1..=255, 0, 1..=255, ..] => Some(true),
        _ => None,
    };
    let whole = io::Cursor::new(head).chain(source);
    let text: Box<dyn Read + 'a> = match big_endian {
        _ if is_gzip => Box::new(MultiGzDecoder::new(whole)),
        Some(big_endian) => Box::new(Utf16 { source: whole, big_endian, ready: io::Cursor::default(), held: None }),
        None => Box::new(whole),
    };
    Ok(Box::new(BufReader::new(Limited { text, left: limit })))
}

/// Each line of the text without what a form adds to it.
pub(super) fn lines(mut text: impl BufRead, mut take: impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if text.by_ref().take(MOST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        take(plain(String::from_utf8_lossy(&line).trim_end()).trim_end());
        if line.last() != Some(&b'\n') {
            text.skip_until(b'\n')?;
        }
    }
}

/// A reader that fails beyond its limit, so that a longer text is not taken for one that ends there.
struct Limited<R> {
    text: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other("its text is too long: give its last part, which holds the last start of the server")
        })?;
        Ok(read)
    }
}

/// UTF-16 as UTF-8. What is no character becomes U+FFFD.
struct Utf16<R> {
    source: R,
    big_endian: bool,
    ready: io::Cursor<Vec<u8>>,
    /// The first half of a pair whose other half is in the next chunk.
    held: Option<u16>,
}

impl<R: Read> Utf16<R> {
    /// Whether there was anything more.
    fn refill(&mut self) -> io::Result<bool> {
        let mut chunk = Vec::new();
        self.source.by_ref().take(UTF16_CHUNK).read_to_end(&mut chunk)?;
        let number = if self.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
        let mut units: Vec<u16> = self.held.take().into_iter().collect();
        units.extend(chunk.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(number)));
        if !chunk.is_empty()
            && let Some(0xd800..=0xdbff) = units.last()
        {
            self.held = units.pop();
        }
        let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        self.ready = io::Cursor::new(text.into_bytes());
        Ok(!chunk.is_empty() || !self.ready.get_ref().is_empty())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.ready.read(buffer)?;
            if read > 0 || buffer.is_empty() || !self.refill()? {
                return Ok(read);
            }
        }
    }
}

/// A line as the server wrote it: out of docker's json-file, journald's JSON or MySQL's JSON sink, and without colours.
fn plain(line: &str) -> Cow<'_, str> {
    let line = line.trim_start_matches('\u{feff}');
    let unpacked = if line.trim_start().starts_with('{') { out_of_json(line) } else { None };
    let line = unpacked.map_or(Cow::Borrowed(line), Cow::Owned);
    if line.contains('\u{1b}') { Cow::Owned(without_colours(&line)) } else { line }
}

fn out_of_json(line: &str) -> Option<String> {
    let object: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    if let Some(message) = text("log").or(text("MESSAGE")) {
        return Some(message.to_owned());
    }
    // MySQL's component log_sink_json, put together as the server's text sink does it.
    let [time, label, subsystem] = ["time", "label", "subsystem"].map(|key| text(key).unwrap_or_default());
    Some(format!("{time} [{}] [{subsystem}] {}", label.to_uppercase(), text("msg")?))
}

/// Without escape sequences (ECMA-48): those that begin with `ESC [` up to their final byte, and others of one byte.
fn without_colours(line: &str) -> String {
    let mut chars = line.chars();
    let mut plain = String::with_capacity(line.len());
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if chars.next() == Some('[') {
            chars.by_ref().find(|c| matches!(c, '\u{40}'..='\u{7e}'));
        }
    }
    plain
}
