//! Versions of TLS, and the library options that are about them.

use super::super::address::Malformed;
use super::super::model::TlsVersion;
use super::super::source::quote;
use super::notes::At;

/// What sslVersion, sslVersionMin, sslVersionMax and `options = NO_TLSv1_N` say together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Versions {
    min: Option<Bound>,
    max: Option<Bound>,
    without_12: bool,
    without_13: bool,
    /// The last place that spoke of it.
    at: Option<At>,
}

/// An end of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// `all`: as far as there are versions.
    Open,
    To(TlsVersion),
}

impl Versions {
    pub(super) fn both(&mut self, bound: Bound, at: At) {
        (self.min, self.max, self.at) = (Some(bound), Some(bound), Some(at));
    }

    pub(super) fn least(&mut self, bound: Bound, at: At) {
        (self.min, self.at) = (Some(bound), Some(at));
    }

    pub(super) fn most(&mut self, bound: Bound, at: At) {
        (self.max, self.at) = (Some(bound), Some(at));
    }

    pub(super) fn without(&mut self, version: TlsVersion, without: bool, at: At) {
        match version {
            TlsVersion::V12 => self.without_12 = without,
            TlsVersion::V13 => self.without_13 = without,
        }
        self.at = Some(at);
    }

    /// The oldest and the newest version. Without a word about it 1.3 alone where TLS is accepted; a connecting side takes 1.2
    /// as well from a far end that has no newer, which may be somebody else's to update.
    ///
    /// # Errors
    /// None is left, and the place that spoke of it last.
    pub(super) fn range(self, connecting: bool) -> Result<(TlsVersion, TlsVersion), Option<At>> {
        let asks_for_older = self.max == Some(Bound::To(TlsVersion::V12)) || self.without_13;
        let mut min = match self.min {
            Some(Bound::To(version)) => version,
            Some(Bound::Open) => TlsVersion::V12,
            None if asks_for_older || connecting => TlsVersion::V12,
            None => TlsVersion::V13,
        };
        let mut max = match self.max {
            Some(Bound::To(version)) => version,
            Some(Bound::Open) | None => TlsVersion::V13,
        };
        if self.without_12 && min == TlsVersion::V12 {
            if max == TlsVersion::V12 {
                return Err(self.at);
            }
            min = TlsVersion::V13;
        }
        if self.without_13 && max == TlsVersion::V13 {
            max = TlsVersion::V12;
        }
        if min > max { Err(self.at) } else { Ok((min, max)) }
    }
}

/// Reads `all`, `TLSv1.2`, `TLSv1.3`.
pub(super) fn bound(text: &str) -> Result<Bound, Malformed> {
    match text.to_ascii_lowercase().as_str() {
        "all" => Ok(Bound::Open),
        "tlsv1.2" => Ok(Bound::To(TlsVersion::V12)),
        "tlsv1.3" => Ok(Bound::To(TlsVersion::V13)),
        "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" => Err(Malformed::hint(
            format!(
                "{} is refused: nothing older than TLS 1.2 is spoken here, since what it carries can be read or changed on the way",
                quote(text)
            ),
            "write TLSv1.2, the oldest that is safe; a peer that knows no newer one needs an update",
        )),
        _ => Err(Malformed::hint(format!("{} is no version of TLS", quote(text)), "write all, TLSv1.2 or TLSv1.3")),
    }
}
