//! What `verify` finds in a journal of which something was altered, and all that stands around it made right. For each kind
//! of event: what follows from those before it. The journal is that of a whole year (`year.rs`); alterations by somebody
//! who has the signing key as well are in `receipts.rs`.

use budget_consolidator::consolidator::verify::{Faults, Verified, verify};
use budget_consolidator::proto::storage::{self, envelope::Event};
use budget_consolidator::store::{Journal, MemoryJournal};
use prost::Message;

/// Alters an event, if it is one that has what is to be altered.
pub type Alter = fn(&mut storage::Envelope) -> Option<()>;
type Kind = fn(&Verified) -> &Faults;
type Count = fn(&mut Event) -> Option<&mut u32>;

/// What counts on from the event of its kind before: each is told among the figures if it doesn't.
const VERSIONS: [(&str, Count); 5] = [
    (
        "the version of a unit tree",
        |event| if let Event::UnitsImported(it) = event { Some(&mut it.version) } else { None },
    ),
    ("the version of the control figures", |event| {
        if let Event::ControlIssued(it) = event { Some(&mut it.version) } else { None }
    }),
    ("the version of a round that opens", |event| {
        if let Event::RoundOpened(it) = event { Some(&mut it.version) } else { None }
    }),
    ("the version of a round that closes", |event| {
        if let Event::RoundClosed(it) = event { Some(&mut it.version) } else { None }
    }),
    (
        "the version of a submission",
        |event| if let Event::Submitted(it) = event { Some(&mut it.version) } else { None },
    ),
];

/// Each other alteration with the kind of fault that it is, which is told at its position.
const ALTERATIONS: [(&str, Kind, Alter); 27] = [
    (
        "what an aggregate seals",
        |verified| &verified.figures,
        |envelope| {
            let Event::Forwarded(forwarded) = envelope.event.as_mut()? else { return None };
            forwarded.members.first_mut()?.version += 1;
            Some(())
        },
    ),
    (
        "a ceiling before the one that took its place",
        |verified| &verified.figures,
        |envelope| {
            let Event::ControlIssued(issued) = envelope.event.as_mut()? else { return None };
            let before = issued.figures.iter_mut().find_map(|figure| figure.before.as_mut())?;
            before.fen += 10_000;
            Some(())
        },
    ),
    (
        "how far somebody is above a ceiling that was cut",
        |verified| &verified.figures,
        |envelope| {
            let Event::ControlIssued(issued) = envelope.event.as_mut()? else { return None };
            issued.affected.first_mut()?.over_fen += 1;
            Some(())
        },
    ),
    (
        "the state that a step of review led to",
        |verified| &verified.figures,
        |envelope| {
            let Event::VersionMoved(moved) = envelope.event.as_mut()? else { return None };
            let to = if moved.to == "approved" { "returned" } else { "approved" };
            to.clone_into(&mut moved.to);
            Some(())
        },
    ),
    (
        "the state that a step led an aggregate to",
        |verified| &verified.figures,
        |envelope| {
            let Event::AggregateMoved(moved) = envelope.event.as_mut()? else { return None };
            let to = if moved.to == "approved" { "returned" } else { "approved" };
            to.clone_into(&mut moved.to);
            Some(())
        },
    ),
    (
        "a reviewed figure above its ceiling",
        |verified| &verified.figures,
        |envelope| {
            let Event::FiguresReviewed(reviewed) = envelope.event.as_mut()? else { return None };
            let item = reviewed.items.iter_mut().find(|item| item.amount_fen.is_some())?;
            [&mut item.table, &mut item.row, &mut item.column]
                .into_iter()
                .zip(["T03", "合计", "total"])
                .for_each(|(part, said)| said.clone_into(part));
            item.amount_fen = Some(9_999_999_999_900);
            Some(())
        },
    ),
    (
        "a reviewed figure of a cell that isn't there",
        |verified| &verified.figures,
        |envelope| {
            let Event::FiguresReviewed(reviewed) = envelope.event.as_mut()? else { return None };
            "T99".clone_into(&mut reviewed.items.first_mut()?.table);
            Some(())
        },
    ),
    (
        "which reviewed figures were approved",
        |verified| &verified.figures,
        |envelope| {
            let Event::VersionMoved(moved) = envelope.event.as_mut()? else { return None };
            (moved.reviewed > 0).then(|| moved.reviewed = 0)
        },
    ),
    (
        "what a filing that was refused for its shape adds up to",
        |verified| &verified.figures,
        |envelope| {
            let Some(Event::Submitted(submitted)) = envelope.event.take() else { return None };
            let storage::Submitted { attempt, content_zstd, adjustment, .. } = submitted;
            let mut attempt = attempt?;
            let (strength, reason) = ("balance".to_owned(), "UNKNOWN_COLUMN".to_owned());
            attempt.findings.push(storage::Finding { strength, reason, ..Default::default() });
            "100".clone_into(&mut attempt.control_total_fen);
            envelope.event =
                Some(Event::Refused(storage::Refused { attempt: Some(attempt), content_zstd, adjustment }));
            Some(())
        },
    ),
    (
        "a finding that was explained",
        |verified| &verified.figures,
        |envelope| {
            let Event::Justified(justified) = envelope.event.as_mut()? else { return None };
            justified.items.first_mut()?.fingerprint[0] ^= 1;
            Some(())
        },
    ),
    (
        "a filing of somebody who may not file it",
        |verified| &verified.findings,
        |envelope| {
            let Event::Submitted(_) = envelope.event.as_ref()? else { return None };
            "budget://407999/unit".clone_into(&mut envelope.actor);
            Some(())
        },
    ),
    (
        "what its request said",
        |verified| &verified.digests,
        |envelope| {
            let Event::Submitted(_) = envelope.event.as_ref()? else { return None };
            envelope.fingerprint[0] ^= 1;
            Some(())
        },
    ),
    (
        "a question that nobody asked",
        |verified| &verified.findings,
        |envelope| {
            let Event::Submitted(submitted) = envelope.event.as_mut()? else { return None };
            let (strength, reason) = ("verify".to_owned(), "NAME_DIFFERS".to_owned());
            submitted.attempt.as_mut()?.findings.push(storage::Finding { strength, reason, ..Default::default() });
            Some(())
        },
    ),
    (
        "why something was refused",
        |verified| &verified.findings,
        |envelope| {
            let Event::Refused(refused) = envelope.event.as_mut()? else { return None };
            let findings = &mut refused.attempt.as_mut()?.findings;
            let over = findings.iter_mut().find(|finding| finding.reason == "OVER_CEILING")?;
            // What is wrong with the shape of a filing isn't among its cells.
            (over.reason, over.facts) = ("AMOUNT_MALFORMED".to_owned(), Vec::new());
            Some(())
        },
    ),
    (
        "cells that are of no table",
        |verified| &verified.digests,
        |envelope| {
            let Event::Refused(refused) = envelope.event.as_mut()? else { return None };
            let table = storage::Table { id: "NOWHERE".to_owned(), ..Default::default() };
            let content = storage::Content { tables: vec![table] };
            refused.content_zstd = zstd::bulk::compress(&content.encode_to_vec(), 1).unwrap();
            Some(())
        },
    ),
    (
        "an explanation of what is no filing",
        |verified| &verified.figures,
        |envelope| {
            let Event::Justified(justified) = envelope.event.as_mut()? else { return None };
            justified.position = 1;
            Some(())
        },
    ),
    (
        "a finding that is explained twice at once",
        |verified| &verified.figures,
        |envelope| {
            let Event::Justified(justified) = envelope.event.as_mut()? else { return None };
            justified.items.push(justified.items.first()?.clone());
            Some(())
        },
    ),
    (
        "where the version stands that an opinion is about",
        |verified| &verified.figures,
        |envelope| {
            let Event::OpinionGiven(given) = envelope.event.as_mut()? else { return None };
            given.version.as_mut()?.position += 1;
            Some(())
        },
    ),
    (
        "the id of a form set",
        |verified| &verified.figures,
        |envelope| {
            let Event::FormSetPublished(published) = envelope.event.as_mut()? else { return None };
            published.id.push('x');
            Some(())
        },
    ),
    (
        "what the request of a form set said",
        |verified| &verified.figures,
        |envelope| {
            let Event::FormSetPublished(_) = envelope.event.as_ref()? else { return None };
            envelope.fingerprint[0] ^= 1;
            Some(())
        },
    ),
    (
        "an event under no key",
        |verified| &verified.figures,
        |envelope| {
            envelope.key.clear();
            Some(())
        },
    ),
    (
        "an aggregate that was led on by somebody who may not",
        |verified| &verified.figures,
        |envelope| {
            let Event::AggregateMoved(_) = envelope.event.as_ref()? else { return None };
            "budget://407999/unit".clone_into(&mut envelope.actor);
            Some(())
        },
    ),
    (
        "the version that an adjustment would have changed, if it had not been refused",
        |verified| &verified.figures,
        |envelope| {
            let Event::Refused(refused) = envelope.event.as_mut()? else { return None };
            refused.adjustment.as_mut()?.base += 1;
            Some(())
        },
    ),
    (
        "a thousand questions that nobody asked",
        |verified| &verified.findings,
        |envelope| {
            let Event::Submitted(submitted) = envelope.event.as_mut()? else { return None };
            let (strength, reason) = ("verify".to_owned(), "NAME_DIFFERS".to_owned());
            let question = storage::Finding { strength, reason, ..Default::default() };
            submitted.attempt.as_mut()?.findings.extend(vec![question; 1_000]);
            Some(())
        },
    ),
    (
        "grounds that are no filing",
        |verified| &verified.verdicts,
        |envelope| {
            let Event::Submitted(submitted) = envelope.event.as_mut()? else { return None };
            submitted.attempt.as_mut()?.verdicts.as_mut()?.last = 1;
            Some(())
        },
    ),
    (
        "rows in another order, which leaves the digest as it was",
        |verified| &verified.digests,
        |envelope| {
            let Event::Submitted(submitted) = envelope.event.as_mut()? else { return None };
            let content = zstd::bulk::decompress(&submitted.content_zstd, 1 << 28).unwrap();
            let mut content = storage::Content::decode(content.as_slice()).unwrap();
            content.tables.iter_mut().find(|table| table.keys.len() > 1)?.keys.swap(0, 1);
            submitted.content_zstd = zstd::bulk::compress(&content.encode_to_vec(), 1).unwrap();
            Some(())
        },
    ),
    (
        "an addition that was refused for what nobody had explained",
        |verified| &verified.findings,
        |envelope| {
            let Some(Event::Refused(refused)) = envelope.event.take() else { return None };
            let storage::Refused { attempt, content_zstd, adjustment } = refused;
            let (mut attempt, base) = (attempt?, adjustment.as_ref()?.base);
            adjustment.as_ref()?.raised.as_ref()?;
            attempt.findings.retain(|finding| finding.reason != "FINDINGS_UNJUSTIFIED");
            let (attempt, version) = (Some(attempt), base + 1);
            envelope.event = Some(Event::Submitted(storage::Submitted { attempt, version, content_zstd, adjustment }));
            Some(())
        },
    ),
];

/// The first of these records, each with its place, that can be altered, and what it becomes.
pub fn altered<'r>(
    records: impl IntoIterator<Item = (usize, &'r Vec<u8>)>,
    alter: impl Fn(&mut storage::Envelope) -> Option<()>,
) -> Option<(usize, Vec<u8>)> {
    records.into_iter().find_map(|(at, record)| {
        let mut envelope = storage::Envelope::decode(record.as_slice()).unwrap();
        alter(&mut envelope).map(|()| (at, envelope.encode_to_vec()))
    })
}

/// Each alteration, made at the last event that has what it alters, is found there.
pub fn alterations_are_found(records: &[Vec<u8>]) {
    for (what, version) in VERSIONS {
        is_found(
            records,
            what,
            |verified| &verified.figures,
            |envelope| {
                *version(envelope.event.as_mut()?)? += 1;
                Some(())
            },
        );
    }
    for (what, kind, alter) in ALTERATIONS {
        is_found(records, what, kind, alter);
    }
}

fn is_found(records: &[Vec<u8>], what: &str, kind: Kind, alter: impl Fn(&mut storage::Envelope) -> Option<()>) {
    let found = altered(records.iter().enumerate().rev(), alter);
    let (at, altered) = found.unwrap_or_else(|| panic!("nothing in this year is {what}"));
    let journal = MemoryJournal::new();
    journal.append(0, &records[..at]).unwrap();
    journal.append(at as u64, &[altered]).unwrap();
    let verified = verify(&journal, &|_| {}).unwrap();
    let position = (at + 1).to_string();
    let found = kind(&verified).first.iter().any(|fault| fault.fact("position") == Some(position.as_str()));
    assert!(found, "{what} at {position}: {verified:?}");
    // What stands before it is sound.
    assert_eq!(verified.first_bad(), Some(at as u64 + 1), "{what}: {verified:?}");
}
