//! Durations as users write them: a whole number and a unit, in one string.

use std::time::Duration;

use super::address::Malformed;
use super::source::quote;

/// The units and their milliseconds, the largest first.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// What other programs call them.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("day", "d"),
    ("days", "d"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("millis", "ms"),
    ("milliseconds", "ms"),
];

/// The longest: beyond it the sum of a few timers could leave what clocks can express.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Reads `500ms`, `30s`, `10m`, `1h`, `2d`.
pub(super) fn parse(text: &str) -> Result<Duration, Malformed> {
    let number_end = text.find(|char: char| !(char.is_ascii_digit() || char == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(number_end).unwrap_or((text, ""));
    if text.is_empty() {
        return Err(Malformed::hint("the duration is empty", "write a number and a unit: \"500ms\", \"30s\", \"1h\""));
    }
    if text.starts_with('-') {
        return Err(Malformed::new(format!("{}: a duration is not negative", quote(text))));
    }
    if number.is_empty() {
        return Err(Malformed::hint(
            format!("{} is not a duration", quote(text)),
            "write a number and a unit: \"500ms\", \"30s\", \"1h\"",
        ));
    }
    if unit.is_empty() {
        return Err(Malformed::hint(format!("{} has no unit", quote(text)), without_unit(number)));
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let lower = unit.trim().to_ascii_lowercase();
        let meant = OTHER_NAMES
            .iter()
            .find(|(other, _)| *other == lower)
            .map(|(_, name)| *name)
            .or_else(|| UNITS.iter().map(|(name, _)| *name).find(|name| *name == lower));
        let help = match meant {
            Some(name) => format!("did you mean \"{number}{name}\"?"),
            None => "the units are ms, s, m, h and d; one number, one unit".to_owned(),
        };
        return Err(Malformed::hint(format!("{}: {} is not a unit", quote(text), quote(unit)), help));
    };
    if number.contains('.') {
        return Err(Malformed::hint(
            format!("{}: a duration is a whole number of its unit", quote(text)),
            fraction(number, *factor).unwrap_or_else(|| "take the next smaller unit".to_owned()),
        ));
    }
    let too_long = || Malformed::new(format!("{}: a duration is at most 365d", quote(text)));
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)).ok_or_else(too_long)?;
    let duration = Duration::from_millis(millis);
    if duration > LONGEST { Err(too_long()) } else { Ok(duration) }
}

/// What a number without a unit may have been meant as.
pub(super) fn without_unit(number: &str) -> String {
    if number.trim_start_matches('0').is_empty() {
        return "write \"0s\"".to_owned();
    }
    format!("write \"{number}s\" for seconds, \"{number}ms\" for milliseconds")
}

/// `1.5s` said in whole milliseconds.
fn fraction(number: &str, factor: u64) -> Option<String> {
    let (whole, part) = number.split_once('.')?;
    let digits = u32::try_from(part.len()).ok()?;
    let scale = 10_u64.checked_pow(digits)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scaled = whole.checked_mul(scale)?.checked_add(part.parse().ok()?)?.checked_mul(factor)?;
    if !scaled.is_multiple_of(scale) {
        return None;
    }
    Some(format!("write \"{}\"", format(Duration::from_millis(scaled / scale))))
}

/// The shortest way to write a duration exactly, to the millisecond.
pub(super) fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)))
        .map_or_else(|| format!("{millis}ms"), |(name, factor)| format!("{}{name}", millis / u128::from(*factor)))
}
