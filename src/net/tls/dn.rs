//! Distinguished names, as people write them.
//!
//! Two forms are read: OpenSSL's slash form (`/DC=org/CN=host/db1`, RDNs in the order of the certificate; a slash inside a
//! value has a backslash where a `TYPE=` follows it, and may have one elsewhere) and the comma form of RFC 2253
//! (`CN=db1,DC=org`, the last RDN first). Both are compared attribute by attribute, never as text: a CA that signs a CN of
//! `x/O=y` has not signed an O. The slash form alone is written: what a log says can be pasted into a list.

use std::fmt;

use x509_parser::x509::X509Name;

/// Types by the short names of OpenSSL, further names of theirs, and their OIDs.
const TYPES: &[(&[&str], &str)] = &[
    (&["CN", "commonName"], "2.5.4.3"),
    (&["SN", "surname"], "2.5.4.4"),
    (&["serialNumber"], "2.5.4.5"),
    (&["C", "countryName"], "2.5.4.6"),
    (&["L", "localityName"], "2.5.4.7"),
    (&["ST", "S", "stateOrProvinceName"], "2.5.4.8"),
    (&["street", "streetAddress"], "2.5.4.9"),
    (&["O", "organizationName"], "2.5.4.10"),
    (&["OU", "organizationalUnitName"], "2.5.4.11"),
    (&["title"], "2.5.4.12"),
    (&["description"], "2.5.4.13"),
    (&["businessCategory"], "2.5.4.15"),
    (&["postalCode"], "2.5.4.17"),
    (&["name"], "2.5.4.41"),
    (&["GN", "givenName"], "2.5.4.42"),
    (&["initials"], "2.5.4.43"),
    (&["generationQualifier"], "2.5.4.44"),
    (&["dnQualifier"], "2.5.4.46"),
    (&["pseudonym"], "2.5.4.65"),
    (&["organizationIdentifier"], "2.5.4.97"),
    (&["UID", "userId"], "0.9.2342.19200300.100.1.1"),
    (&["DC", "domainComponent"], "0.9.2342.19200300.100.1.25"),
    (&["emailAddress", "E", "Email"], "1.2.840.113549.1.9.1"),
    (&["unstructuredName"], "1.2.840.113549.1.9.2"),
    (&["jurisdictionC"], "1.3.6.1.4.1.311.60.2.1.3"),
];

/// The OID of a type that a person wrote, if it is one.
fn oid(name: &str) -> Option<String> {
    let known = TYPES.iter().find(|(names, _)| names.iter().any(|n| n.eq_ignore_ascii_case(name)));
    let numeric = || {
        let parts = name.split('.').count();
        let digits = name.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        (parts > 2 && digits).then(|| name.to_owned())
    };
    known.map(|(_, oid)| (*oid).to_owned()).or_else(numeric)
}

/// One `TYPE=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    oid: String,
    value: Vec<u8>,
}

impl Attribute {
    /// The short name of its type, or the OID where there is none.
    fn name(&self) -> &str {
        let known = TYPES.iter().find(|(_, oid)| *oid == self.oid);
        known.and_then(|(names, _)| names.first()).copied().unwrap_or(&self.oid)
    }
}

/// A distinguished name: its RDNs in the order of the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dn(Vec<Vec<Attribute>>);

impl From<&X509Name<'_>> for Dn {
    fn from(name: &X509Name<'_>) -> Self {
        let attribute = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            // BMPString has two bytes a character; all other string types are compared as they stand.
            let wide = a.attr_value().tag().0 == 30;
            let value = if wide {
                let units = a.as_slice().chunks_exact(2).map(|c| c.iter().fold(0u16, |n, b| n << 8 | u16::from(*b)));
                char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>().into()
            } else {
                a.as_slice().to_vec()
            };
            Attribute { oid: a.attr_type().to_id_string(), value }
        };
        Self(name.iter().map(|rdn| rdn.iter().map(attribute).collect()).collect())
    }
}

impl Dn {
    /// Reads either form. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed = if text.starts_with('/') { slash(text) } else { comma(text) };
        parsed.map_err(|what| format!("{text:?} is no subject: {what}"))
    }

    /// The values of all common names, as text.
    pub(super) fn common_names(&self) -> impl Iterator<Item = String> {
        let all = self.0.iter().flatten().filter(|a| a.oid == "2.5.4.3");
        all.map(|a| String::from_utf8_lossy(&a.value).into_owned())
    }

    /// The e-mail addresses in it.
    pub(super) fn emails(&self) -> impl Iterator<Item = String> {
        let all = self.0.iter().flatten().filter(|a| a.oid == "1.2.840.113549.1.9.1");
        all.map(|a| String::from_utf8_lossy(&a.value).into_owned())
    }
}

/// OpenSSL's slash form (`X509_NAME_oneline`): bytes that do not print as `\xHH`, so that no name can forge a log line. It reads
/// back as the same name: a backslash is written as two, and one stands before a `/` or `+` that would begin another attribute.
impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rdn in &self.0 {
            for (i, attribute) in rdn.iter().enumerate() {
                write!(f, "{}{}=", if i == 0 { '/' } else { '+' }, attribute.name())?;
                let mut rest = attribute.value.iter();
                while let Some(&byte) = rest.next() {
                    let ambiguous = || String::from_utf8_lossy(rest.as_slice());
                    match byte {
                        b'/' | b'+' if starts_a_type(&ambiguous()) => write!(f, "\\{}", char::from(byte))?,
                        b'\\' => write!(f, "\\\\")?,
                        b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                        _ => write!(f, "\\x{byte:02X}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// The byte that `text` starts with as two hexadecimal digits.
fn hex(text: &str) -> Option<u8> {
    // Checked first: from_str_radix takes a sign too.
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Whether `rest` starts with `TYPE=`.
fn starts_a_type(rest: &str) -> bool {
    rest.split_once('=').is_some_and(|(name, _)| oid(name.trim()).is_some())
}

fn slash(text: &str) -> Result<Dn, String> {
    let mut dn = Dn::default();
    let mut rest = text;
    while let Some(separator) = rest.chars().next() {
        let after = rest.get(1..).unwrap_or_default();
        let (name, value) = after.split_once('=').ok_or_else(|| format!("{after:?} has no \"TYPE=\""))?;
        let oid = oid(name.trim()).ok_or_else(|| format!("{:?} is no type of attribute", name.trim()))?;
        // To the next separator that a type follows.
        let (mut bytes, mut end) = (Vec::new(), value.len());
        let mut chars = value.char_indices();
        while let Some((at, c)) = chars.next() {
            let tail = value.get(at + c.len_utf8()..).unwrap_or_default();
            match c {
                '/' | '+' if starts_a_type(tail) => {
                    end = at;
                    break;
                }
                '\\' => match (tail.strip_prefix('x').and_then(hex), tail) {
                    (Some(byte), _) => {
                        bytes.push(byte);
                        chars.nth(2);
                    }
                    (_, t) if t.starts_with(['/', '+', '\\']) => {
                        bytes.extend(t.bytes().take(1));
                        chars.next();
                    }
                    _ => bytes.push(b'\\'),
                },
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        let attribute = Attribute { oid, value: bytes };
        match dn.0.last_mut() {
            Some(last) if separator == '+' => last.push(attribute),
            _ => dn.0.push(vec![attribute]),
        }
        rest = value.get(end..).unwrap_or_default();
    }
    Ok(dn)
}

fn comma(text: &str) -> Result<Dn, String> {
    let mut rdns: Vec<Vec<Attribute>> = Vec::new();
    let (mut rest, mut joined) = (text, false);
    loop {
        let (name, value) = rest.split_once('=').ok_or_else(|| format!("{rest:?} has no \"TYPE=\""))?;
        let name = name.trim();
        let name = name.strip_prefix("OID.").or_else(|| name.strip_prefix("oid.")).unwrap_or(name);
        let oid = oid(name).ok_or_else(|| format!("{name:?} is no type of attribute"))?;
        let value = value.trim_start();
        let (mut bytes, mut end, mut quoted, mut kept) = (Vec::new(), None, false, 0);
        let mut chars = value.char_indices();
        while let Some((at, c)) = chars.next() {
            let tail = value.get(at + c.len_utf8()..).unwrap_or_default();
            match c {
                '"' => quoted = !quoted,
                ',' | ';' | '+' if !quoted => {
                    end = Some((at, c));
                    break;
                }
                '\\' => {
                    match hex(tail) {
                        Some(byte) => {
                            bytes.push(byte);
                            chars.nth(1);
                        }
                        _ => match chars.next() {
                            Some((_, c)) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
                            None => return Err("it ends in a backslash".into()),
                        },
                    }
                    kept = bytes.len();
                }
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            if c != ' ' || quoted {
                kept = bytes.len();
            }
        }
        if quoted {
            return Err("a quotation mark is not closed".into());
        }
        // Blanks in front of a separator are none of the value.
        bytes.truncate(kept);
        let attribute = Attribute { oid, value: bytes };
        match rdns.last_mut() {
            Some(last) if joined => last.push(attribute),
            _ => rdns.push(vec![attribute]),
        }
        let Some((at, separator)) = end else { break };
        joined = separator == '+';
        rest = value.get(at + 1..).unwrap_or_default();
    }
    rdns.reverse();
    Ok(Dn(rdns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Dn {
        /// The comma form of RFC 2253, the last RDN first.
        fn comma(&self) -> String {
            let mut out = String::new();
            for (i, rdn) in self.0.iter().rev().enumerate() {
                for (j, attribute) in rdn.iter().enumerate() {
                    out.push_str(if j > 0 {
                        "+"
                    } else if i > 0 {
                        ","
                    } else {
                        ""
                    });
                    out.push_str(attribute.name());
                    out.push('=');
                    let last = attribute.value.len().saturating_sub(1);
                    for (at, &byte) in attribute.value.iter().enumerate() {
                        let edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
                        match byte {
                            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
                            _ if edge => out.extend(['\\', char::from(byte)]),
                            b' '..=b'~' => out.push(char::from(byte)),
                            _ => out.push_str(&format!("\\{byte:02X}")),
                        }
                    }
                }
            }
            out
        }
    }

    #[test]
    fn both_forms_read_as_the_same_name() {
        for (slash, comma) in [
            ("/DC=org/DC=terena/CN=host/db1.x.org", "CN=host/db1.x.org,DC=terena,DC=org"),
            ("/DC=org/DC=terena/CN=host\\/db1.x.org", "cn=host/db1.x.org , dc=terena, dc=org"),
            ("/C=DE/O=A, B/CN=x+UID=y", "CN=x+UID=y,O=A\\, B,C=DE"),
            ("/O=\\xC3\\xBC/emailAddress=a@b", "E=a@b,O=\"ü\""),
            ("/O=a\\x20", "O=a\\ "),
            ("/1.2.3.4=v", "OID.1.2.3.4=v"),
        ] {
            assert_eq!(Dn::parse(slash).unwrap(), Dn::parse(comma).unwrap(), "{slash} {comma}");
        }
    }

    #[test]
    fn a_value_that_looks_like_another_attribute_does_not_pass_for_it() {
        let forged = Dn(vec![vec![Attribute { oid: "2.5.4.3".into(), value: b"x/O=y".to_vec() }]]);
        assert_ne!(forged, Dn::parse("/CN=x/O=y").unwrap());
        assert_eq!(forged.to_string(), "/CN=x\\/O=y");
        assert_eq!(forged, Dn::parse(&forged.to_string()).unwrap());
        assert_eq!(forged, Dn::parse(&forged.comma()).unwrap());
    }

    #[test]
    fn a_grids_host_is_written_without_a_backslash_and_read_with_and_without() {
        let plain = "/DC=org/O=A+B/CN=host/db1.x.org";
        for text in [plain, "/DC=org/O=A\\+B/CN=host\\/db1.x.org", "CN=host/db1.x.org,O=A\\+B,DC=org"] {
            assert_eq!(Dn::parse(text).unwrap().to_string(), plain);
        }
    }

    #[test]
    fn what_is_no_subject_is_refused_in_words() {
        for (text, why) in [
            ("db1.example.org", "has no \"TYPE=\""),
            ("/db1", "has no \"TYPE=\""),
            ("/XX=1", "\"XX\" is no type"),
            ("CN=a,", "has no \"TYPE=\""),
            ("CN=\"a", "not closed"),
            ("", "has no \"TYPE=\""),
        ] {
            let error = Dn::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    /// Any bytes, and often those that could be taken for the start of another attribute.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..9), "[/+=CNO\\\\x2 ]{0,12}".prop_map(String::into_bytes)]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(values in proptest::collection::vec(value(), 1..4)) {
            let attribute = |value| Attribute { oid: "2.5.4.10".into(), value };
            let dn = Dn(vec![values.into_iter().map(attribute).collect()]);
            prop_assert_eq!(&Dn::parse(&dn.comma()).unwrap(), &dn);
            let text = dn.to_string();
            prop_assert_eq!(&Dn::parse(&text).unwrap(), &dn);
            prop_assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}", more in "[/+=,;\"\\\\CNx0-9. ]{0,30}") {
            let _ = (Dn::parse(&text), Dn::parse(&more), Dn::parse(&format!("/{more}")));
        }
    }
}
