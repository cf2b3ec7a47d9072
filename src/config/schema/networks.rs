//! Lists of networks.

use ipnet::IpNet;

use super::super::network;
use super::super::reader::{Read, Table};

/// A list of networks; empty by default.
pub(super) fn networks(table: &Table<'_>, key: &str) -> Read<Vec<IpNet>> {
    let Some(value) = table.get(key) else { return Read { value: Vec::new(), span: None, good: true } };
    let mut read = Read { value: Vec::new(), span: Some(value.span), good: true };
    let Some(array) = value.array() else {
        // The one string in brackets, where it is a network and nothing else.
        let one = value.inner.as_str().filter(|text| network::parse(text).is_ok());
        let help = one.map(|text| format!("write {key} = [\"{text}\"]"));
        value.wrong_type("a list of networks such as [\"10.0.0.0/8\"]", help);
        return Read { good: false, ..read };
    };
    for item in value.items(array) {
        match item.string("a network such as \"10.0.0.0/8\"").map(network::parse) {
            Some(Ok(network)) => read.value.push(network),
            Some(Err(malformed)) => {
                table.doc.malformed(item.span, malformed);
                read.good = false;
            }
            None => read.good = false,
        }
    }
    read
}
