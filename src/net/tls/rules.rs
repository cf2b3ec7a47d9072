//! The rules for a peer's certificate, read once.

use super::SetupError;
use super::dn::Dn;
use super::names::Wanted;
use crate::config::{CrlScope, Dialect, PeerRules, Pin};

/// [`PeerRules`] without their files.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) chain: bool,
    pub(super) in_store: bool,
    /// CRLs are configured.
    pub(super) crl: bool,
    pub(super) crl_scope: CrlScope,
    pub(super) names: Vec<Wanted>,
    pub(super) subjects: Vec<Dn>,
    pub(super) pins: Vec<Pin>,
    pub(super) cn_fallback: bool,
    pub(super) dialect: Dialect,
}

impl Rules {
    /// The error names the subject that cannot be read.
    pub(super) fn new(rules: &PeerRules) -> Result<Self, SetupError> {
        let subjects = rules.allow_subjects.iter().map(|text| Dn::parse(text)).collect::<Result<_, _>>();
        Ok(Self {
            chain: rules.chain,
            in_store: rules.in_store,
            crl: !rules.crl.is_empty(),
            crl_scope: rules.crl_scope,
            names: rules.allow_names.iter().map(|text| Wanted::parse(text)).collect(),
            subjects: subjects.map_err(SetupError::Rule)?,
            pins: rules.pins.clone(),
            cn_fallback: rules.cn_fallback,
            dialect: rules.dialect,
        })
    }

    /// Whether nothing is asked for but the possession of the key.
    pub(super) fn none(&self) -> bool {
        !self.chain && !self.in_store && self.names.is_empty() && self.subjects.is_empty() && self.pins.is_empty()
    }
}
