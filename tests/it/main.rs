//! One integration binary: everything that is tested through the public surface of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod access;
mod architecture;
mod as_of;
mod audit_questions;
mod bad_input;
mod checks;
mod control_cli;
mod control_laws;
mod control_model;
mod control_pool;
mod drills;
mod fixture;
mod form_laws;
mod form_sets;
mod gallery;
mod garbage;
mod generator;
mod journal_contract;
mod laws;
mod limits;
mod log;
mod looks;
mod metrics;
mod mirror;
mod model;
mod mutation;
mod pins;
mod proof;
mod receipts;
mod replay;
mod review;
mod rule_laws;
mod rules;
mod safekeeping;
mod saved_state;
mod seed;
mod status_watch;
mod support;
mod tls;
mod view_rules;
mod watch;
mod wire;
mod year;
