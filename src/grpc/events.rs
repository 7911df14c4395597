//! ListEvents: the journal, or some of it.

use std::collections::BTreeSet;

use prost::Message;

use super::audit::event_out;
use super::convert::bad;
use super::limits;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::Snapshot;
use crate::ledger::Position;
use crate::ledger::actor::Actor;
use crate::ledger::event::{Envelope, KINDS, Timestamp};
use crate::proto::api;

/// Which events are asked for.
struct Wanted<'r> {
    actor: Option<Actor>,
    kinds: &'r [String],
    /// The positions of the unit's events.
    unit: Option<BTreeSet<Position>>,
    from: Timestamp,
    to: Timestamp,
}

impl Wanted<'_> {
    fn new<'r>(snapshot: &Snapshot, request: &'r api::ListEventsRequest) -> Result<Wanted<'r>, Remark> {
        let actor = match request.actor.as_str() {
            "" => None,
            text => Some(Actor::parse(text).ok_or_else(|| bad("actor", text))?),
        };
        if let Some(kind) = request.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(bad("kinds", kind).with("expected", KINDS.join(", ")));
        }
        let unit = match request.unit.as_str() {
            "" => None,
            unit => {
                let known = snapshot.state.trees().any(|tree| tree.contains(unit));
                let unknown = || Remark::new(Reason::UnknownUnit).with("unit", unit).with("year", "");
                Some(snapshot.state.history(Some(unit).filter(|_| known).ok_or_else(unknown)?).into_iter().collect())
            }
        };
        let to = if request.to_time_ms == 0 { i64::MAX } else { request.to_time_ms };
        if request.from_time_ms > to {
            return Err(bad("from_time_ms", request.from_time_ms).with("expected", format!("≤ {to}")));
        }
        Ok(Wanted { actor, kinds: &request.kinds, unit, from: Timestamp(request.from_time_ms), to: Timestamp(to) })
    }

    fn is(&self, envelope: &Envelope) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == envelope.actor)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == envelope.event.kind()))
            && (self.from..=self.to).contains(&envelope.time)
    }
}

pub(super) fn list(
    snapshot: &Snapshot,
    request: &api::ListEventsRequest,
    page_bytes: usize,
) -> Result<api::ListEventsResponse, Remark> {
    let head = snapshot.state.position;
    let wanted = Wanted::new(snapshot, request)?;
    let after: Position = match request.page_token.as_str() {
        "" => 0,
        token => token.parse().ok().filter(|after| *after > 0).ok_or_else(|| bad("page_token", token))?,
    };
    // Times never go back: what is too early ends at one position.
    let early = match wanted.from.0 {
        0 => 0,
        from if head == 0 || snapshot.event(1)?.time >= Timestamp(from) => 0,
        from => snapshot.position_at(Timestamp(from - 1))?,
    };
    let from = request.from_position.max(1).max(after.saturating_add(1)).max(early + 1);
    let size = limits::page_size(request.page_size);
    let mut answer = api::ListEventsResponse { head, ..api::ListEventsResponse::default() };
    let (mut bytes, mut looked_at, mut last) = (0, 0, head);
    for position in from..=head {
        if wanted.unit.as_ref().is_some_and(|positions| !positions.contains(&position)) {
            continue;
        }
        let envelope = snapshot.event(position)?;
        if envelope.time > wanted.to {
            break;
        }
        looked_at += 1;
        if wanted.is(&envelope) {
            let event = event_out(&envelope, None);
            bytes += event.encoded_len();
            answer.events.push(event);
        }
        if answer.events.len() == size || looked_at == limits::EVENTS_MAX || bytes >= page_bytes {
            last = position;
            break;
        }
    }
    if last < head {
        answer.next_page_token = last.to_string();
    }
    Ok(answer)
}
