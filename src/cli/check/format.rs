//! The two formats that can be checked: galeway.toml and stunnel.conf.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::config::stunnel::{self, Launch};
use crate::config::{self, Config, Diagnostics, Dialect, Place, Service};

/// As much of a file as tells its format.
const ENOUGH: u64 = 64 * 1024;

/// A file that can be used.
pub(super) struct Checked {
    pub(super) config: Config,
    pub(super) warnings: Diagnostics,
    pub(super) dialect: Dialect,
    /// Of a stunnel.conf.
    launch: Option<Launch>,
}

impl Checked {
    /// All services; behind those of the configuration the ones without an address of their own.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        let hidden = self.launch.iter().flat_map(|launch| &launch.virtual_services);
        self.config.services.iter().chain(hidden).map(Arc::as_ref)
    }

    /// Where clients go whom a service refuses; empty = nowhere.
    pub(super) fn redirect(&self, service: &Service) -> &[Place] {
        let extras = self.launch.as_ref().and_then(|launch| launch.services.get(&service.name));
        extras.map_or(&[], |extras| &extras.redirect)
    }

    /// By which names clients reach a service that has no address, and behind which one.
    pub(super) fn names(&self, service: &Service) -> Vec<(&str, &str)> {
        let masters = self.launch.iter().flat_map(|launch| &launch.services);
        masters
            .flat_map(|(master, extras)| extras.hosts.iter().map(move |host| (master, host)))
            .filter(|(_, host)| host.service == service.name)
            .map(|(master, host)| (&*host.pattern, &**master))
            .collect()
    }
}

/// Reads a file of either format.
pub(super) fn load(path: &Path) -> Result<Checked, Diagnostics> {
    if is_stunnel(path) {
        let read = stunnel::load(path)?;
        return Ok(Checked {
            config: read.config,
            warnings: read.warnings,
            dialect: Dialect::Stunnel,
            launch: Some(read.launch),
        });
    }
    let read = config::load(path)?;
    Ok(Checked { config: read.config, warnings: read.warnings, dialect: Dialect::Toml, launch: None })
}

/// By its name, else by what stands in it. A file that cannot be read is nobody's: the reader of galeway.toml says why.
fn is_stunnel(path: &Path) -> bool {
    match path.extension().and_then(|end| end.to_str()) {
        Some("conf") => return true,
        Some("toml") => return false,
        _ => {}
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(ENOUGH).read_to_end(&mut bytes));
    read.is_ok() && reads_as_stunnel(&String::from_utf8_lossy(&bytes))
}

/// Whether a text is rather a stunnel.conf: it has no section that only a galeway.toml has, and one of the options without
/// which a stunnel.conf does nothing, its value not in the quotes or brackets of TOML.
fn reads_as_stunnel(text: &str) -> bool {
    let lines = || text.lines().map(|line| line.trim_matches(['\u{feff}', ' ', '\t', '\r']));
    let of_galeway = |line: &str| {
        let header = line.trim_start_matches('[').trim_start();
        let name = header.split(['.', ']', ' ']).next().unwrap_or_default();
        line.starts_with('[') && matches!(name, "service" | "cluster") && header.contains('.')
    };
    let of_stunnel = |line: &str| {
        let Some((key, value)) = line.split_once('=') else { return false };
        let key = key.trim().to_ascii_lowercase();
        let plain = !value.trim_start().starts_with(['"', '\'', '[', '{']);
        matches!(&*key, "accept" | "connect" | "client" | "cert" | "include") && plain
    };
    !lines().any(of_galeway) && lines().any(of_stunnel)
}

#[cfg(test)]
mod tests {
    use super::reads_as_stunnel;

    #[test]
    fn a_text_is_told_by_its_sections_and_by_how_its_values_are_written() {
        for text in [
            "cert = /etc/grid-security/hostcert.pem\n[mysql]\naccept = 3307\nconnect = 127.0.0.1:3306\n",
            "\u{feff}; a comment\nclient = yes\r\n[mysql]\r\naccept=127.0.0.1:3307\r\nconnect=server1:3307\r\n",
            "include = /etc/stunnel/conf.d\n",
            "[service]\naccept = 1\nconnect = 2\n",
        ] {
            assert!(reads_as_stunnel(text), "{text}");
        }
        for text in [
            "",
            "[service.x]\naccept = '127.0.0.1:1'\nconnect = [\"db:1\"]\n",
            "[service.x]\naccept = 127.0.0.1:1\n",
            " [ cluster.main ]\nnodes = []\naccept = 1\n",
            "[process]\nlog = \"x\"\n",
            "accept = \"127.0.0.1:1\"\n",
        ] {
            assert!(!reads_as_stunnel(text), "{text}");
        }
    }
}
