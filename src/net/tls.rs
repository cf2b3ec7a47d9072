//! rustls configurations.
