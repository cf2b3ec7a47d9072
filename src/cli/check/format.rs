//! The two formats that can be checked.

use std::path::Path;

use super::warnings::Dialect;
use crate::config::{self, Config, Diagnostics, Service};

/// A file that can be used.
pub(super) struct Checked {
    pub(super) config: Config,
    pub(super) warnings: Diagnostics,
    pub(super) dialect: Dialect,
}

impl Checked {
    /// All services.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        self.config.services.iter().map(|service| &**service)
    }
}

/// Reads a file of either format.
pub(super) fn load(path: &Path) -> Result<Checked, Diagnostics> {
    let loaded = config::load(path)?;
    Ok(Checked { config: loaded.config, warnings: loaded.warnings, dialect: Dialect::Toml })
}
