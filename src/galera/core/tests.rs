//! Property tests follow.
