//! What users write: the TOML schema, its diagnostics, and the resolved [`Config`].
//!
//! Nothing else in the crate knows a file format.

mod model;
mod secret;

pub use model::*;
pub use secret::Secret;
