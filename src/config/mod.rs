//! What users write: the TOML schema, its diagnostics, and the resolved [`Config`].
//!
//! Nothing else in the crate knows a file format. The way of a file through this room:
//!
//! ```text
//! text ─toml→ tree with spans ─reader, schema→ Config ─cross→ Config or Diagnostics
//!                                                       └─print→ TOML with every default
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `load` | the two ways in: [`load`] and [`parse`] |
//! | `flags` | a configuration without a file: flags and environment variables as the TOML that says the same |
//! | `syntax` | the tree with its spans, and what is left of a file that is not TOML |
//! | `keys`, `words` | every key, those of later versions included, and every enumerated value |
//! | `address`, `place`, `ports`, `network`, `duration` | what stands in strings |
//! | `doc`, `reader` | typed reads that note an error and go on, so that all errors come in one go |
//! | `schema` | from the tree to the [`model`](Config), a section at a time |
//! | `cross` | what only shows when sections are held side by side |
//! | `diagnostic`, `source`, `mask` | errors with a place, the excerpt under them, and the secrets kept out of it |
//! | `print` | a [`Config`] as TOML |
//! | [`stunnel`] | the other file format: stunnel.conf, resolved to the same model |

mod address;
mod cross;
mod defaults;
mod diagnostic;
mod doc;
mod duration;
mod flags;
mod keys;
mod load;
mod mask;
mod model;
mod nearest;
mod network;
mod place;
mod ports;
mod print;
mod reader;
mod schema;
mod secret;
mod source;
pub mod stunnel;
mod syntax;
mod words;

#[cfg(test)]
mod tests;

pub use address::{DEFAULT_PORT, Malformed};
pub use defaults::ADMIN_SOCKET;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use flags::{Environment, Flags, Key};
pub use load::{Loaded, load, parse};
pub use model::*;
pub use print::print;
pub use secret::Secret;
