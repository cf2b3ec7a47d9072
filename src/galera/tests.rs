//! What the tests of this module share.

/// How many lives a property is tried on: `PROPTEST_CASES`, else as many as are usual.
pub(super) fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
