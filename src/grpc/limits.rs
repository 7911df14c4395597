//! All limits of the API in one place. Beyond one of them a request is refused, never cut; what an answer leaves out it
//! counts. Each is stated in the comments
//! of `proto/` and tried at its edge over a socket (`tests/it/limits.rs`, which also sees that none is left out).

use std::time::Duration;

// What is said has limits without a server too, so these are kept where it is read and decided.
pub use crate::budget::form_set::PARTS_MAX;
pub use crate::budget::intake::FINDINGS_MAX;
pub use crate::budget::intake::TEXT_BYTES_MAX;
pub use crate::budget::money::CELL_FEN_MAX;
pub use crate::budget::rule::FORMULA_BYTES_MAX;
pub use crate::budget::rule::FORMULA_DEPTH_MAX;
pub use crate::budget::rule::FORMULA_LINES_MAX;
pub use crate::budget::rule::PAIRED_LINES_MAX;
pub use crate::budget::rule::RULE_LINES_MAX;
pub use crate::budget::rule::RULES_MAX;
pub use crate::budget::unit_tree::CODE_BYTES_MAX;
pub use crate::budget::unit_tree::DEPTH_MAX;
pub use crate::budget::unit_tree::NODE_TEXT_CHARS_MAX;
pub use crate::ledger::compare::LIST_UNITS_MAX;
pub use crate::ledger::decide::CONTROL_REASON_CHARS_MAX;
pub use crate::ledger::decide::JUSTIFICATION_CHARS_MAX;
pub use crate::ledger::decide::JUSTIFICATIONS_MAX;
pub use crate::ledger::decide::REQUEST_KEY_BYTES_MAX;
pub use crate::ledger::decide::REVIEW_CHARS_MAX;
pub use crate::ledger::decide::REVIEW_LINES_MAX;

/// Time for a TLS handshake and the greeting of HTTP/2 behind it.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Connections that are not through their handshake; beyond it the oldest makes room.
pub const HALF_OPEN_MAX: usize = 512;
/// Connections in all; beyond it a new one is closed.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Connections of one identity; beyond it a new one is closed.
pub const CONNECTIONS_PER_IDENTITY_MAX: usize = 64;
/// Bytes of a request's headers together, counted as HTTP/2 does.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How often a connection that says nothing is asked whether it is there.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(30);
/// Beyond so many identities, those who have nothing open and haven't asked lately are forgotten.
pub(crate) const IDENTITIES_REMEMBERED_MAX: usize = 4_096;
/// How often the certificates' files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that a connection stays open after its certificate was revoked or ended: its requests are refused with the
/// reason, then it is closed.
pub(crate) const LOOKS_BEFORE_SHOWN_OUT: u32 = 5;
/// How long it is listened to somebody who is not let in, so that they can read why.
pub(crate) const LINGER_MAX: Duration = Duration::from_secs(1);
/// And how many bytes.
pub(crate) const LINGER_BYTES_MAX: u64 = 64 * 1024;
/// Pause after a connection that could not be taken.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The largest message taken: a chunk of 256 long rows, or the files of a form set.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest answer given.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Streams that one connection may have open.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Bytes that a client may send before the server has taken them: a whole filing of usual size, so that none waits for
/// leave to go on.
pub const WINDOW_BYTES: u32 = 1024 * 1024;
/// Rows of a chunk.
pub const CHUNK_ROWS_MAX: usize = 256;
/// Rows of a submission.
pub const ROWS_MAX: u64 = 100_000;
/// Bytes of a submission's messages together.
pub const SUBMISSION_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Tables of a submission.
pub const TABLES_MAX: usize = 1_000;
/// Columns that the tables of a submission state, all together.
pub const COLUMNS_MAX: usize = 10_000;
/// Bytes of a row key, table id or column id.
pub const KEY_BYTES_MAX: usize = 256;
/// Rule findings of one answer, and cells that they name, together: more are counted, those that refuse come first.
pub const FINDING_CELLS_MAX: usize = 100_000;
/// Watches that one identity may have open.
pub const WATCHES_PER_ACTOR_MAX: usize = 16;
/// Seconds between the heartbeats of a watch, if the client doesn't say, and at most.
pub const HEARTBEAT_SECONDS: (u32, u32) = (15, 60);
/// Control figures of one issue.
pub const FIGURES_MAX: usize = 50_000;
/// Changes of a page of the change track, unless said otherwise.
pub const CHANGES_PAGE: usize = 1_000;
/// Changes of a page of the change track at most; one event's stay together.
pub const CHANGES_PAGE_MAX: usize = 10_000;
/// Events that are looked at for one page of the journal.
pub const EVENTS_MAX: usize = 10_000;
/// Events that are gone through to say what changed a cell: between two sides, or for one page of its history.
pub const CAUSE_EVENTS_MAX: u64 = 5_000;
/// Versions that are gone through for it.
pub const CAUSE_VERSIONS_MAX: usize = 100;
/// Filings that are looked at for it between rounds or years.
pub const CAUSE_UNITS_MAX: usize = 200;
/// Cells of a changed line that an answer to a return names.
pub const CHANGED_CELLS_MAX: usize = 20;
/// Lines of a return that a status board names.
pub const RETURN_LINES_SHOWN: usize = 5;
/// Characters of a text of a return that a status board shows: of ten thousand units it must fit into one answer.
pub const RETURN_CHARS_SHOWN: usize = 200;
/// Bytes of an answer that are handed on at once.
pub(crate) const ANSWER_PART_BYTES: usize = 16 * 1024;
/// Pieces of an archive that wait for a slow client.
pub(crate) const PIECES_WAITING_MAX: usize = 4;
/// Nodes of a unit tree.
pub const NODES_MAX: usize = 50_000;
/// Bytes of a form set's files together.
pub const FORM_SET_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Items of a page if the client doesn't say.
pub const PAGE_DEFAULT: usize = 100;
/// Items of a page at most.
pub const PAGE_MAX: usize = 1_000;

/// Bytes of a page, about: it ends early, with a token for the next.
pub const PAGE_BYTES_MAX: usize = Bounds::page_bytes_of(ANSWER_BYTES_MAX);
/// Bytes of the rule findings of one answer: more are counted, those that refuse come first.
pub const FINDING_BYTES_MAX: usize = Bounds::finding_bytes_of(ANSWER_BYTES_MAX);

/// Bytes of memory of the commands that wait for the writer, of all identities together; beyond it the last of whoever
/// has the most waiting is refused.
pub const WAITING_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of memory of one identity's filings while they come in: the largest filing there can be, or many usual ones.
pub const UNDER_WAY_BYTES_PER_ACTOR_MAX: usize = 128 * 1024 * 1024;
/// Bytes of memory of all filings while they come in; beyond it whoever holds the most is refused.
pub const UNDER_WAY_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Requests that one identity may have open, streams included.
pub const OPEN_PER_ACTOR_MAX: usize = 64;
/// Requests of one identity in a second; so many may also come at once.
pub const PER_SECOND_PER_ACTOR_MAX: u32 = 500;
/// How long a stream may rest between two messages.
pub const STREAM_IDLE_SECONDS_MAX: u64 = 30;
/// How long a filing may take from its header to its answer.
pub const STREAM_SECONDS_MAX: u64 = 600;
/// How long any other request may take until its answer begins.
pub const REQUEST_SECONDS_MAX: u64 = 60;
/// How long a client may leave a part of an answer untaken, until its connection is closed.
pub const ANSWER_SECONDS_MAX: u64 = 600;

/// The limits of number and time that hold while a server runs. Only tests have others: nobody waits ten minutes for one.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// [`HANDSHAKE_MAX`].
    pub handshake: Duration,
    /// [`CONNECTIONS_MAX`].
    pub connections: usize,
    /// [`FINDING_CELLS_MAX`].
    pub finding_cells: usize,
    /// [`WAITING_BYTES_MAX`].
    pub waiting_bytes: usize,
    /// [`UNDER_WAY_BYTES_PER_ACTOR_MAX`].
    pub under_way_per_actor: usize,
    /// [`UNDER_WAY_BYTES_MAX`].
    pub under_way: usize,
    /// [`OPEN_PER_ACTOR_MAX`].
    pub open: usize,
    /// [`PER_SECOND_PER_ACTOR_MAX`].
    pub per_second: u32,
    /// [`STREAM_IDLE_SECONDS_MAX`].
    pub idle: Duration,
    /// [`STREAM_SECONDS_MAX`].
    pub stream: Duration,
    /// [`REQUEST_SECONDS_MAX`].
    pub request: Duration,
    /// [`ANSWER_SECONDS_MAX`].
    pub answer: Duration,
    /// [`ANSWER_BYTES_MAX`].
    pub answer_bytes: usize,
    /// How many costly things are done for one identity at once: half of what the machine can do, the other half is for
    /// all others. A filing that is alone is one of them, and takes the other half too while nobody else has any.
    pub turns: usize,
}

impl Bounds {
    const fn page_bytes_of(answer_bytes: usize) -> usize {
        answer_bytes / 4
    }

    const fn finding_bytes_of(answer_bytes: usize) -> usize {
        answer_bytes / 2
    }

    /// Bytes of a page, about.
    pub(super) fn page_bytes(&self) -> usize {
        Bounds::page_bytes_of(self.answer_bytes)
    }

    /// Bytes of the rule findings of an answer.
    pub(super) fn finding_bytes(&self) -> usize {
        Bounds::finding_bytes_of(self.answer_bytes)
    }
}

impl Default for Bounds {
    fn default() -> Bounds {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Bounds {
            handshake: HANDSHAKE_MAX,
            connections: CONNECTIONS_MAX,
            finding_cells: FINDING_CELLS_MAX,
            waiting_bytes: WAITING_BYTES_MAX,
            under_way_per_actor: UNDER_WAY_BYTES_PER_ACTOR_MAX,
            under_way: UNDER_WAY_BYTES_MAX,
            open: OPEN_PER_ACTOR_MAX,
            per_second: PER_SECOND_PER_ACTOR_MAX,
            idle: Duration::from_secs(STREAM_IDLE_SECONDS_MAX),
            stream: Duration::from_secs(STREAM_SECONDS_MAX),
            request: Duration::from_secs(REQUEST_SECONDS_MAX),
            answer: Duration::from_secs(ANSWER_SECONDS_MAX),
            answer_bytes: ANSWER_BYTES_MAX,
            turns: (cores / 2).max(1),
        }
    }
}

/// The size of a page that was asked for.
pub(crate) fn page_size(asked: u32) -> usize {
    match usize::try_from(asked).unwrap_or(PAGE_MAX) {
        0 => PAGE_DEFAULT,
        asked => asked.min(PAGE_MAX),
    }
}

// A whole chunk must fit into one message, and a form set into one publication.
const _: () = assert!(CHUNK_ROWS_MAX * crate::budget::intake::TEXT_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(FORM_SET_BYTES_MAX < MESSAGE_BYTES_MAX);
