//! The `galeway` command.

fn main() {}
