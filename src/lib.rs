//! `budget-consolidator`: units stream their budgets in, the consolidator keeps, checks and sums them,
//! departments read the sums live, the finance bureau audits every figure back to its line.
//!
//! The house, top to bottom. Arrows point down, nothing points up; `tests/it/architecture.rs` keeps it so.
//!
//! | module | what it is | what it does not know |
//! |---|---|---|
//! | [`cli`] | one file per verb; a gRPC client, but for the verbs that need no server | how anything is stored |
//! | [`grpc`] | the server side of tonic, one file per service; wire types stop here | `store` |
//! | [`submission_file`] | filings as JSON, and the JSON Schema of a form set | the wire, the server |
//! | [`wording`] | every reason as a sentence, in Chinese and English | where a reason comes from |
//! | [`consolidator`] | the one writer, the readers' snapshots, events ⇄ bytes; time and concurrency | gRPC |
//! | [`store`] | the journal: append, read, head; sled, memory, mirror, archives | budgets: only bytes and positions |
//! | [`certificate`] | whom a certificate names; reading its files; a small authority that issues them | connections |
//! | [`ledger`] | events, decide and apply, what a reader may ask. Pure | clock, disk, network, async, protobuf |
//! | [`budget`] | money, codes, form sets, check rules, submissions, ceilings, sums. Pure | who may do what, and when |
//! | [`proto`] | generated messages | |
//!
//! Where to look first: a new table, column, code or check is data in `forms/`, not code. What a formula may say:
//! `budget/rule/`. A new finding about shape: `budget/intake.rs`. A new RPC: `proto/`, then the service's file in `grpc/`. How money is printed: `budget/money.rs`.
//! What a person reads: `wording/catalogue.toml`. What is on disk: `consolidator/record.rs` and `store/`;
//! the format of mirrors and backups: [`store::archive`].

pub mod budget;
pub mod certificate;
pub mod cli;
pub mod consolidator;
pub mod grpc;
pub mod ledger;
pub mod proto;
pub mod store;
pub mod submission_file;
pub mod wording;
