//! Every reason for which something is found, refused or not done: a closed list of stable codes.
//!
//! The codes go over the wire, into the journal and into other people's programs: they are never renamed
//! or reused. What they say to a person, in Chinese and English, stands in `src/wording/catalogue.toml`;
//! which gRPC status they travel as, in `src/grpc/status.rs`.

use std::fmt;

macro_rules! reasons {
    ($( $(#[doc = $doc:expr])+ $name:ident = $code:literal, )+) => {
        /// Why something was found, refused or not done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $( $(#[doc = $doc])+ $name, )+ }

        impl Reason {
            /// All reasons, in the order of this file.
            pub const ALL: &'static [Reason] = &[ $( Reason::$name, )+ ];

            /// The stable code, `UPPER_SNAKE`.
            pub fn code(self) -> &'static str {
                match self { $( Reason::$name => $code, )+ }
            }

            /// The reason with this code.
            pub fn from_code(code: &str) -> Option<Reason> {
                match code { $( $code => Some(Reason::$name), )+ _ => None }
            }
        }
    };
}

reasons! {
    // Findings about the shape of a submission.
    /// The form set has no such table.
    UnknownTable = "UNKNOWN_TABLE",
    /// One table is given twice.
    DuplicateTable = "DUPLICATE_TABLE",
    /// This kind of submission doesn't have this table.
    TableNotOfKind = "TABLE_NOT_OF_KIND",
    /// A table is marked as empty on purpose and has rows all the same.
    EmptyTableHasRows = "EMPTY_TABLE_HAS_ROWS",
    /// A table states an amount unit or decimals that don't exist.
    BadAmountUnit = "BAD_AMOUNT_UNIT",
    /// The table has no such column.
    UnknownColumn = "UNKNOWN_COLUMN",
    /// One column is given twice.
    DuplicateColumn = "DUPLICATE_COLUMN",
    /// A row has more values than the table has stated columns.
    TooManyValues = "TOO_MANY_VALUES",
    /// The table has fixed rows, and this is none of them.
    UnknownRow = "UNKNOWN_ROW",
    /// A row key that is not of the form that the table's axis asks for.
    BadRowKey = "BAD_ROW_KEY",
    /// One row is given twice.
    DuplicateRow = "DUPLICATE_ROW",
    /// A coded row whose parent code has no row.
    ParentRowAbsent = "PARENT_ROW_ABSENT",
    /// A code that a complete catalogue doesn't have.
    UnknownCode = "UNKNOWN_CODE",
    /// A code that an incomplete catalogue doesn't have: a question, not an error.
    CodeToVerify = "CODE_TO_VERIFY",
    /// A known code with another name than the catalogue's.
    NameDiffers = "NAME_DIFFERS",
    /// An amount with a thousands separator.
    AmountSeparator = "AMOUNT_SEPARATOR",
    /// An amount in scientific notation.
    AmountExponent = "AMOUNT_EXPONENT",
    /// A text that is not an amount or number at all.
    AmountMalformed = "AMOUNT_MALFORMED",
    /// More decimals than stated.
    AmountTooPrecise = "AMOUNT_TOO_PRECISE",
    /// Beyond the largest amount of a cell.
    AmountTooLarge = "AMOUNT_TOO_LARGE",
    /// Below nothing where that is not allowed.
    AmountNegative = "AMOUNT_NEGATIVE",
    /// Not a time of 14 digits, or not a real one.
    BadTime = "BAD_TIME",
    /// A text that is too long for a cell.
    TextTooLong = "TEXT_TOO_LONG",
    /// A text with control characters.
    BadText = "BAD_TEXT",
    /// A required cell is blank.
    RequiredBlank = "REQUIRED_BLANK",
    /// Nothing was filed at all.
    NothingFiled = "NOTHING_FILED",

    // Findings against control figures.
    /// Above a ceiling that is hard.
    OverCeiling = "OVER_CEILING",
    /// A cell with a ceiling is missing or blank: nothing could be compared.
    CappedCellBlank = "CAPPED_CELL_BLANK",
    /// A ceiling stands on a cell that the form set of the filing doesn't have.
    CeilingElsewhere = "CEILING_ELSEWHERE",
    /// Above a ceiling that is advisory.
    OverAdvisoryCeiling = "OVER_ADVISORY_CEILING",

    // Findings about a change of what is approved.
    /// A reallocation that moves a total.
    AdjustmentMoved = "ADJUSTMENT_MOVED",
    /// What is to be approved is above a ceiling that was cut.
    ApprovalOverCeiling = "APPROVAL_OVER_CEILING",

    // Faults of submission files, with line and column.
    /// A file that is not JSON, or not UTF-8.
    FileSyntax = "FILE_SYNTAX",
    /// A file, or what it spells out, that is larger than any filing.
    FileTooLarge = "FILE_TOO_LARGE",
    /// A key that no submission file has.
    FileUnknownKey = "FILE_UNKNOWN_KEY",
    /// A key that is needed is not there.
    FileMissingKey = "FILE_MISSING_KEY",
    /// One key twice in the same braces.
    FileDuplicateKey = "FILE_DUPLICATE_KEY",
    /// A figure without quotes.
    FileUnquoted = "FILE_UNQUOTED",
    /// A value of the wrong kind.
    FileWrongValue = "FILE_WRONG_VALUE",

    // Refusals of requests.
    /// The request doesn't say who is asking, or says it wrongly.
    UnknownActor = "UNKNOWN_ACTOR",
    /// A header names the actor although a certificate does.
    IdentityClaimed = "IDENTITY_CLAIMED",
    /// A certificate that names nobody, several, or nobody that there can be.
    CertificateIdentity = "CERTIFICATE_IDENTITY",
    /// A certificate that has ended.
    CertificateExpired = "CERTIFICATE_EXPIRED",
    /// A certificate that was revoked.
    CertificateRevoked = "CERTIFICATE_REVOKED",
    /// A certificate of an authority that isn't let in.
    CertificateUnknown = "CERTIFICATE_UNKNOWN",
    /// This actor may not do this.
    NotPermitted = "NOT_PERMITTED",
    /// There is no such method, or none that is let in.
    UnknownMethod = "UNKNOWN_METHOD",
    /// A required part of the request is absent or can't be read.
    BadRequest = "BAD_REQUEST",
    /// The unit tree of the year has no such unit.
    UnknownUnit = "UNKNOWN_UNIT",
    /// The unit files no budget of its own.
    UnitNotBudgeted = "UNIT_NOT_BUDGETED",
    /// There is no unit tree for the year.
    UnknownYear = "UNKNOWN_YEAR",
    /// The form set is for another year.
    YearDiffers = "YEAR_DIFFERS",
    /// No such form set is published.
    UnknownFormSet = "UNKNOWN_FORM_SET",
    /// Nobody has filed there, so it isn't clear which of several form sets is meant.
    FormSetNotNamed = "FORM_SET_NOT_NAMED",
    /// A version of the form set that is not the one in force.
    FormSetOutdated = "FORM_SET_OUTDATED",
    /// The form set doesn't take this kind of submission.
    KindNotTaken = "KIND_NOT_TAKEN",
    /// The round is not open.
    RoundClosed = "ROUND_CLOSED",
    /// The deadline of the round has passed.
    DeadlinePassed = "DEADLINE_PASSED",
    /// A version in whose state this can't be done.
    NotInState = "NOT_IN_STATE",
    /// An aggregate in whose state this can't be done.
    AggregateNotInState = "AGGREGATE_NOT_IN_STATE",
    /// A step that is another's to take: not who filed, and not over the head of a department.
    NotYourStep = "NOT_YOUR_STEP",
    /// Another version, or a newer set of reviewed figures, is there than the one that was looked at.
    VersionMoved = "VERSION_MOVED",
    /// The submission is sealed in its department's aggregate.
    SubmissionSealed = "SUBMISSION_SEALED",
    /// Logic findings stand without a justification.
    FindingsUnjustified = "FINDINGS_UNJUSTIFIED",
    /// Not all submissions of a department are ready to be forwarded.
    DepartmentNotReady = "DEPARTMENT_NOT_READY",
    /// A reason, opinion or cause that is missing or can't be used.
    BadReviewText = "BAD_REVIEW_TEXT",
    /// The form set names no such office, or it is another role's.
    UnknownOffice = "UNKNOWN_OFFICE",
    /// A return, or a reviewed figure, is about a line that the submission doesn't have.
    UnknownLine = "UNKNOWN_LINE",
    /// A list of reviewed figures that can't be used.
    BadReviewedFigure = "BAD_REVIEWED_FIGURE",
    /// A reviewed figure above a hard ceiling.
    ReviewedOverCeiling = "REVIEWED_OVER_CEILING",
    /// A change of an approved budget that doesn't add up to zero, or raises nothing.
    AdjustmentInvalid = "ADJUSTMENT_INVALID",
    /// A deadline that has passed already, or a round that is as it should become.
    RoundInvalid = "ROUND_INVALID",
    /// Another version of the same submission was filed at the same moment.
    VersionConflict = "VERSION_CONFLICT",
    /// The idempotency key was used for other content.
    KeyReused = "KEY_REUSED",
    /// The cell can't carry a ceiling.
    NotControllable = "NOT_CONTROLLABLE",
    /// There is no such cell.
    UnknownCell = "UNKNOWN_CELL",
    /// The figures of this cell are not added up over units.
    NotSummed = "NOT_SUMMED",
    /// Filings under different layouts can't be added up in one view.
    MixedFormSets = "MIXED_FORM_SETS",
    /// No such submission.
    UnknownSubmission = "UNKNOWN_SUBMISSION",
    /// The submission has no failed rule of that fingerprint.
    UnknownFinding = "UNKNOWN_FINDING",
    /// No form set has a rule of that id, nor is it a reason.
    UnknownRule = "UNKNOWN_RULE",
    /// A department has not forwarded an aggregate of that number.
    UnknownAggregate = "UNKNOWN_AGGREGATE",
    /// Findings of a submission after which another came.
    FindingsOutdated = "FINDINGS_OUTDATED",
    /// A justification that says nothing, too much, or the same thing twice.
    BadJustification = "BAD_JUSTIFICATION",
    /// The journal has no such position.
    UnknownPosition = "UNKNOWN_POSITION",
    /// A time before the first event.
    TimeBeforeJournal = "TIME_BEFORE_JOURNAL",
    /// A form set that can't be used; the places follow.
    FormSetInvalid = "FORM_SET_INVALID",
    /// A unit tree that can't be used.
    UnitTreeInvalid = "UNIT_TREE_INVALID",
    /// A unit with submissions would vanish from the tree.
    UnitHasSubmissions = "UNIT_HAS_SUBMISSIONS",
    /// A unit would leave or join a department whose sum is sealed.
    UnitsSealed = "UNITS_SEALED",
    /// A list of control figures that can't be used.
    ControlInvalid = "CONTROL_INVALID",
    /// Units' ceilings that add up to more than their department's.
    SplitBeyondCeiling = "SPLIT_BEYOND_CEILING",
    /// A ceiling that is cut below what is filed already.
    CeilingBelowFiled = "CEILING_BELOW_FILED",
    /// A unit tree under which ceilings or filings would exceed a ceiling.
    TreeBreaksCeilings = "TREE_BREAKS_CEILINGS",

    // Refusals of streams.
    /// Messages of a stream in the wrong order.
    StreamOrder = "STREAM_ORDER",
    /// The stream ended without a seal.
    StreamUnsealed = "STREAM_UNSEALED",
    /// A chunk with too many rows.
    ChunkTooLarge = "CHUNK_TOO_LARGE",
    /// More rows than a submission may have.
    SubmissionTooLarge = "SUBMISSION_TOO_LARGE",
    /// The seal counts other rows than arrived.
    SealCountDiffers = "SEAL_COUNT_DIFFERS",
    /// The seal's control total differs.
    SealTotalDiffers = "SEAL_TOTAL_DIFFERS",
    /// The seal's digest differs.
    SealDigestDiffers = "SEAL_DIGEST_DIFFERS",

    // Faults of form sets, with file, line and column.
    /// A file of the form set that can't be parsed.
    FormSyntax = "FORM_SYNTAX",
    /// A file that is needed is not there.
    FormFileAbsent = "FORM_FILE_ABSENT",
    /// A key that no form set has.
    FormUnknownKey = "FORM_UNKNOWN_KEY",
    /// A key that is needed is not there.
    FormMissingKey = "FORM_MISSING_KEY",
    /// A value of the wrong kind.
    FormWrongValue = "FORM_WRONG_VALUE",
    /// One id, name or row given twice.
    FormDuplicate = "FORM_DUPLICATE",
    /// Something is named that is not there.
    FormUnknownName = "FORM_UNKNOWN_NAME",
    /// A row that adds itself up.
    FormCycle = "FORM_CYCLE",
    /// A formula of a rule that can't be read.
    RuleSyntax = "RULE_SYNTAX",
    /// A name in a formula that can mean two things.
    RuleAmbiguousName = "RULE_AMBIGUOUS_NAME",
    /// A figure in a formula that is not one figure.
    RuleFreeAxis = "RULE_FREE_AXIS",
    /// Figures of different kinds, compared or reckoned with one another.
    RuleTypesDiffer = "RULE_TYPES_DIFFER",
    /// Tables in a formula that have no axis in common, or not the same ones.
    RuleAxesDiffer = "RULE_AXES_DIFFER",
    /// A formula that goes through too many rows for each of others.
    RuleTakesTooLong = "RULE_TAKES_TOO_LONG",
    /// A rule that can never find anything.
    RuleNeverHolds = "RULE_NEVER_HOLDS",
    /// A name of `[let]` that no rule uses.
    RuleNameUnused = "RULE_NAME_UNUSED",
    /// An amount column that no rule reads.
    RuleColumnUnread = "RULE_COLUMN_UNREAD",
    /// A column for times of which no rule asks whether they are any.
    RuleTimeUnasked = "RULE_TIME_UNASKED",

    // Faults: the service, not the request.
    /// The disk is (almost) full: nothing was applied.
    StoreFull = "STORE_FULL",
    /// The store has stopped accepting: nothing was applied.
    StoreStopped = "STORE_STOPPED",
    /// The service can't be started with this directory or address.
    CannotStart = "CANNOT_START",
    /// A store whose engine can't open it.
    StoreUnreadable = "STORE_UNREADABLE",
    /// A directory is not what it was named as, or store and mirror are not apart.
    WrongDirectory = "WRONG_DIRECTORY",
    /// A file or directory that the system doesn't let be read or written.
    PathUnusable = "PATH_UNUSABLE",
    /// The service should be started neither with certificates nor, by name, without.
    NoTls = "NO_TLS",
    /// The service should be started without TLS where others can reach it.
    NotOnLoopback = "NOT_ON_LOOPBACK",
    /// A file with a certificate, a key or a list of revoked ones can't be used.
    CertificateFile = "CERTIFICATE_FILE",
    /// The data directory is in use by another process.
    StoreInUse = "STORE_IN_USE",
    /// Too much is waiting: nothing was applied, try again.
    Busy = "BUSY",
    /// One identity has more requests open, or sends them faster, than it may.
    TooManyRequests = "TOO_MANY_REQUESTS",
    /// A request that takes longer than any may.
    RequestTooSlow = "REQUEST_TOO_SLOW",
    /// An answer that would be larger than any may be.
    AnswerTooLarge = "ANSWER_TOO_LARGE",
    /// One identity follows more status boards at once than it may.
    TooManyWatches = "TOO_MANY_WATCHES",
    /// A client that follows a status board takes nothing.
    WatchTooSlow = "WATCH_TOO_SLOW",
    /// The server stops, and with it whatever was followed.
    ServerStopping = "SERVER_STOPPING",
    /// It is not known whether this was applied: ask again with the same key.
    OutcomeUnknown = "OUTCOME_UNKNOWN",
    /// A stored record can't be read.
    JournalDamaged = "JOURNAL_DAMAGED",
    /// The key that signed before is not there.
    SigningKeyMissing = "SIGNING_KEY_MISSING",
    /// A stored record can be read, but what it says doesn't follow from its filing and the records before it.
    RecordSaysOtherwise = "RECORD_SAYS_OTHERWISE",
    /// The journal was written by a newer program.
    JournalNewer = "JOURNAL_NEWER",
    /// A file that should be a mirror or backup is none.
    NotAnArchive = "NOT_AN_ARCHIVE",
    /// A mirror or backup is damaged before its end.
    ArchiveDamaged = "ARCHIVE_DAMAGED",
    /// Store and mirror are not copies of one history.
    HistoriesDiffer = "HISTORIES_DIFFER",
    /// The store ends before what was acknowledged.
    StoreTailLost = "STORE_TAIL_LOST",
    /// The store is empty and its mirror is not.
    StoreEmpty = "STORE_EMPTY",
    /// The key that signs checkpoints can't be used.
    SigningKeyUnusable = "SIGNING_KEY_UNUSABLE",
    /// The file of the last signed checkpoint can't be read.
    LastCheckpointDamaged = "LAST_CHECKPOINT_DAMAGED",
    /// The store ends before what was signed.
    StoreBehindCheckpoint = "STORE_BEHIND_CHECKPOINT",
    /// The store is not the history that was signed.
    StoreNotAsSigned = "STORE_NOT_AS_SIGNED",
    /// There is no signed checkpoint (yet).
    NotSigned = "NOT_SIGNED",
    /// The service shows another history than the one that was seen before.
    HistoryForked = "HISTORY_FORKED",
    /// The service shows less than was seen before.
    HistoryRolledBack = "HISTORY_ROLLED_BACK",
    /// The service signs with a key that is not the one seen before, nor its successor.
    SigningKeyChanged = "SIGNING_KEY_CHANGED",
    /// Something should be restored into a directory that has something in it.
    DirectoryNotEmpty = "DIRECTORY_NOT_EMPTY",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The longest fact: remarks are journalled, and travel in headers.
const FACT_BYTES_MAX: usize = 400;

/// Between the items of a list that is a fact.
pub const LIST_COMMA: &str = ", ";
/// In place of the items of a list that were left out: how many follows.
pub const LIST_MORE: &str = "…+";
/// Bytes of a comma, of [`LIST_MORE`] and of any number behind it.
const LIST_ROOM: usize = 32;

/// A reason with the facts that belong to it: what `wording` turns into a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The stable code.
    pub reason: Reason,
    /// Named facts, in the order in which they are said; names are stable like codes.
    pub facts: Vec<(String, String)>,
}

impl Remark {
    /// A remark without facts yet.
    pub fn new(reason: Reason) -> Remark {
        Remark { reason, facts: Vec::new() }
    }

    /// The same remark with one more fact; of a very long one, its beginning.
    pub fn with(mut self, name: &str, fact: impl fmt::Display) -> Remark {
        let mut fact = fact.to_string();
        if fact.len() > FACT_BYTES_MAX {
            let end = (0..=FACT_BYTES_MAX).rev().find(|end| fact.is_char_boundary(*end)).unwrap_or(0);
            fact.truncate(end);
            fact.push('…');
        }
        self.facts.push((name.to_owned(), fact));
        self
    }

    /// The same remark with a list as one more fact: items with commas between them, of a very long list the first ones
    /// and how many more there are, `407001, 407002, …+49`.
    pub fn with_list<I: fmt::Display>(self, name: &str, items: impl IntoIterator<Item = I>) -> Remark {
        let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        let whole = items.join(LIST_COMMA);
        if whole.len() <= FACT_BYTES_MAX {
            return self.with(name, whole);
        }
        let (mut fact, mut fit) = (String::new(), 0);
        for item in &items {
            if fact.len() + item.len() + LIST_ROOM > FACT_BYTES_MAX {
                break;
            }
            fact.push_str(item);
            fact.push_str(LIST_COMMA);
            fit += 1;
        }
        let more = items.len() - fit;
        self.with(name, format!("{fact}{LIST_MORE}{more}"))
    }

    /// The fact of that name.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(n, _)| n == name).map(|(_, fact)| fact.as_str())
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.code())?;
        for (name, fact) in &self.facts {
            write!(f, " {name}={fact:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Remark {}
