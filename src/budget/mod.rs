//! The budget itself: money, codes, forms, submissions, ceilings, sums. Pure.
//!
//! Knows no disk, network, clock, randomness, async, protobuf or float, and nothing of who may do what
//! (that is [`crate::ledger`]) or in which language something is said (that is [`crate::wording`]).
//!
//! Reading order: `money` → `cell` (its texts: `cell_text`) → `form_set` → `submission` → `intake` (texts become a submission,
//! with findings) → `digest` → `rule` → `roll_up`. Beside them `unit_tree`, `control_figure` and `transfer`.

pub mod cell;
pub mod cell_text;
pub mod control_figure;
pub mod digest;
pub mod finding;
pub mod form_set;
pub mod intake;
pub mod money;
pub mod number;
pub mod reason;
pub mod roll_up;
pub mod rule;
pub mod submission;
pub mod transfer;
pub mod unit_tree;
