//! The ledger: which events there are, what a command becomes, and what the journal adds up to. Pure.
//!
//! [`decide`](decide::decide) looks at the state and turns a command into an event, a repeat or a refusal;
//! [`State::apply`](state::State::apply) folds an event into the state. The journal is the truth: the same events give the same
//! state, whatever decided them. Time and keys come in with the command; past submissions through [`Contents`].
//!
//! It knows no clock, disk, network, async, protobuf or randomness. Events become bytes in
//! [`crate::consolidator`]; what a submission or a sum is stands in [`crate::budget`].

pub mod actor;
pub mod answers;
pub mod board;
pub mod checkpoint;
pub mod checks;
pub mod compare;
pub mod control;
pub mod decide;
pub mod event;
pub mod image;
pub mod receipt;
pub mod review;
pub mod round;
pub mod state;
pub mod trace;
pub mod tree;
pub mod view;

use std::sync::Arc;

use crate::budget::reason::Remark;
use crate::budget::submission::Submission;

/// A sequence number of the journal, from 1; 0 stands before the first event.
pub type Position = u64;

/// The submissions of the past, which the state does not hold: only their positions.
///
/// An input of the fold like time: the same position always gives the same submission.
pub trait Contents {
    /// The submission of the `Submitted` event at `position`.
    ///
    /// # Errors
    /// A fault if the record can't be read.
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark>;
}
