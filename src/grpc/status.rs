//! Reasons become statuses here, and nowhere else.
//!
//! The stable code travels as the reason of a `google.rpc.ErrorInfo`, its facts as metadata. Details ride in headers:
//! long lists belong into answers, not into statuses, and [`Remark`] keeps each fact short.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::budget::reason::{Reason, Remark};
use crate::wording::{self, Language};

/// Domain of the reasons in `google.rpc.ErrorInfo`.
pub(crate) const DOMAIN: &str = "budget-consolidator";

/// When to try again what was refused because of a limit that may not be reached then: `google.rpc.RetryInfo`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The status of a refusal or fault.
pub(super) fn status(remark: Remark) -> Status {
    let sentence = wording::sentence(&remark, Language::Chinese);
    let reason = remark.reason;
    let facts: HashMap<String, String> = remark.facts.into_iter().collect();
    let mut details = ErrorDetails::with_error_info(reason.code(), DOMAIN, facts);
    let code = code(reason);
    if code == Code::ResourceExhausted && reason != Reason::AnswerTooLarge {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, sentence, details)
}

/// Which status code a reason travels as. Exhaustive: a new reason must be placed.
fn code(reason: Reason) -> Code {
    match reason {
        Reason::UnknownActor
        | Reason::IdentityClaimed
        | Reason::CertificateIdentity
        | Reason::CertificateExpired
        | Reason::CertificateRevoked
        | Reason::CertificateUnknown => Code::Unauthenticated,
        Reason::NotPermitted => Code::PermissionDenied,
        Reason::UnknownMethod => Code::Unimplemented,
        Reason::UnknownUnit
        | Reason::UnknownYear
        | Reason::UnknownFormSet
        | Reason::UnknownCell
        | Reason::UnknownSubmission
        | Reason::UnknownFinding
        | Reason::UnknownRule
        | Reason::UnknownAggregate
        | Reason::UnknownOffice
        | Reason::UnknownLine
        | Reason::UnknownPosition
        | Reason::TimeBeforeJournal => Code::NotFound,
        Reason::UnitNotBudgeted
        | Reason::YearDiffers
        | Reason::FormSetNotNamed
        | Reason::FormSetOutdated
        | Reason::KindNotTaken
        | Reason::RoundClosed
        | Reason::DeadlinePassed
        | Reason::RoundInvalid
        | Reason::NotInState
        | Reason::AggregateNotInState
        | Reason::NotYourStep
        | Reason::SubmissionSealed
        | Reason::FindingsUnjustified
        | Reason::DepartmentNotReady
        | Reason::AdjustmentInvalid
        | Reason::AdjustmentMoved
        | Reason::ApprovalOverCeiling
        | Reason::NotControllable
        | Reason::MixedFormSets
        | Reason::UnitHasSubmissions
        | Reason::UnitsSealed
        | Reason::SplitBeyondCeiling
        | Reason::CeilingBelowFiled
        | Reason::TreeBreaksCeilings
        | Reason::OverCeiling
        | Reason::ReviewedOverCeiling
        | Reason::OverAdvisoryCeiling
        | Reason::CappedCellBlank
        | Reason::CeilingElsewhere
        | Reason::NotSigned
        | Reason::NotSummed => Code::FailedPrecondition,
        Reason::VersionConflict
        | Reason::VersionMoved
        | Reason::FindingsOutdated
        | Reason::KeyReused
        | Reason::WatchTooSlow => Code::Aborted,
        Reason::UnknownTable
        | Reason::DuplicateTable
        | Reason::TableNotOfKind
        | Reason::EmptyTableHasRows
        | Reason::BadAmountUnit
        | Reason::UnknownColumn
        | Reason::DuplicateColumn
        | Reason::TooManyValues
        | Reason::UnknownRow
        | Reason::BadRowKey
        | Reason::DuplicateRow
        | Reason::ParentRowAbsent
        | Reason::UnknownCode
        | Reason::CodeToVerify
        | Reason::NameDiffers
        | Reason::AmountSeparator
        | Reason::AmountExponent
        | Reason::AmountMalformed
        | Reason::AmountTooPrecise
        | Reason::AmountTooLarge
        | Reason::AmountNegative
        | Reason::BadTime
        | Reason::TextTooLong
        | Reason::BadText
        | Reason::RequiredBlank
        | Reason::NothingFiled
        | Reason::BadRequest
        | Reason::FormSetInvalid
        | Reason::UnitTreeInvalid
        | Reason::ControlInvalid
        | Reason::BadJustification
        | Reason::BadReviewText
        | Reason::BadReviewedFigure
        | Reason::StreamOrder
        | Reason::StreamUnsealed
        | Reason::ChunkTooLarge
        | Reason::SubmissionTooLarge
        | Reason::SealCountDiffers
        | Reason::SealTotalDiffers
        | Reason::SealDigestDiffers
        | Reason::FormSyntax
        | Reason::FormFileAbsent
        | Reason::FormUnknownKey
        | Reason::FormMissingKey
        | Reason::FormWrongValue
        | Reason::FormDuplicate
        | Reason::FormUnknownName
        | Reason::FormCycle
        | Reason::RuleSyntax
        | Reason::RuleAmbiguousName
        | Reason::RuleFreeAxis
        | Reason::RuleTypesDiffer
        | Reason::RuleAxesDiffer
        | Reason::RuleNeverHolds
        | Reason::RuleNameUnused
        | Reason::RuleTakesTooLong
        | Reason::RuleColumnUnread
        | Reason::RuleTimeUnasked
        | Reason::FileSyntax
        | Reason::FileTooLarge
        | Reason::FileUnknownKey
        | Reason::FileMissingKey
        | Reason::FileDuplicateKey
        | Reason::FileUnquoted
        | Reason::FileWrongValue => Code::InvalidArgument,
        Reason::StoreFull
        | Reason::TooManyWatches
        | Reason::TooManyRequests
        | Reason::RequestTooSlow
        | Reason::AnswerTooLarge => Code::ResourceExhausted,
        Reason::StoreStopped
        | Reason::CannotStart
        | Reason::StoreInUse
        | Reason::Busy
        | Reason::OutcomeUnknown
        | Reason::ServerStopping => Code::Unavailable,
        // Most are said at a start, by `restore`, `backup` and the command line: no request meets them.
        Reason::NoTls
        | Reason::NotOnLoopback
        | Reason::CertificateFile
        | Reason::WrongDirectory
        | Reason::PathUnusable => Code::FailedPrecondition,
        Reason::JournalDamaged
        | Reason::RecordSaysOtherwise
        | Reason::StoreUnreadable
        | Reason::JournalNewer
        | Reason::NotAnArchive
        | Reason::ArchiveDamaged
        | Reason::HistoriesDiffer
        | Reason::StoreTailLost
        | Reason::StoreEmpty
        | Reason::SigningKeyUnusable
        | Reason::SigningKeyMissing
        | Reason::LastCheckpointDamaged
        | Reason::StoreBehindCheckpoint
        | Reason::StoreNotAsSigned
        | Reason::HistoryForked
        | Reason::HistoryRolledBack
        | Reason::SigningKeyChanged
        | Reason::DirectoryNotEmpty => Code::Internal,
    }
}
