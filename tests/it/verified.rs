//! What `verify` finds in a journal of which something was altered, and all that stands around it made right. For each kind
//! of event: what follows from those before it. The journal is that of a whole year (`year.rs`); alterations by somebody
//! who has the signing key as well are in `receipts.rs`.

use budget_consolidator::consolidator::verify::{Faults, Verified, verify};
use budget_consolidator::proto::storage::{self, envelope::Event};
use budget_consolidator::store::{Journal, MemoryJournal};
use prost::Message;

/// Alters an event, if it is one that has what is to be altered.
type Alter = fn(&mut storage::Envelope) -> Option<()>;
type Kind = fn(&Verified) -> &Faults;

/// Each alteration with the kind of fault that it is, which is told at its position.
const ALTERATIONS: [(&str, Kind, Alter); 11] = [
    (
        "the version of a unit tree",
        |verified| &verified.figures,
        |envelope| {
            let Event::UnitsImported(imported) = envelope.event.as_mut()? else { return None };
            imported.version += 1;
            Some(())
        },
    ),
    (
        "the version of the control figures",
        |verified| &verified.figures,
        |envelope| {
            let Event::ControlIssued(issued) = envelope.event.as_mut()? else { return None };
            issued.version += 1;
            Some(())
        },
    ),
    (
        "the version of a round that opens",
        |verified| &verified.figures,
        |envelope| {
            let Event::RoundOpened(opened) = envelope.event.as_mut()? else { return None };
            opened.version += 1;
            Some(())
        },
    ),
    (
        "the version of a round that closes",
        |verified| &verified.figures,
        |envelope| {
            let Event::RoundClosed(closed) = envelope.event.as_mut()? else { return None };
            closed.version += 1;
            Some(())
        },
    ),
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
        "the version of a submission",
        |verified| &verified.figures,
        |envelope| {
            let Event::Submitted(submitted) = envelope.event.as_mut()? else { return None };
            submitted.version += 1;
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

/// Each alteration, made at the last event that has what it alters, is found there.
pub fn alterations_are_found(records: &[Vec<u8>]) {
    for (what, kind, alter) in ALTERATIONS {
        let altered = records.iter().enumerate().rev().find_map(|(at, record)| {
            let mut envelope = storage::Envelope::decode(record.as_slice()).unwrap();
            alter(&mut envelope).map(|()| (at, envelope.encode_to_vec()))
        });
        let (at, altered) = altered.unwrap_or_else(|| panic!("nothing in this year is {what}"));
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
}
