//! One integration binary: everything that is tested through the public surface of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod bad_input;
mod drills;
mod journal_contract;
mod support;
mod wire;
