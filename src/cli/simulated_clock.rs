//! The clock of the demo, which plays a year in seconds: it is told what time it is, and goes on from there.
//!
//! `serve --simulated-clock` reads the time from its standard input, milliseconds on a line, and says the line again once
//! that is the time: whoever told it can rely on it from then on. Only who started the server can tell it so, and its
//! log says it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::serve::wall_clock;
use crate::consolidator::Clock;
use crate::ledger::event::Timestamp;

/// Waits for the first time, and follows those that come after it.
///
/// # Errors
/// If there is nobody to tell it.
pub(super) fn told() -> std::io::Result<Clock> {
    let wall = wall_clock();
    let ahead = Arc::new(AtomicI64::new(0));
    if !take(&wall, &ahead)? {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let (followed, from) = (ahead.clone(), wall.clone());
    std::thread::Builder::new()
        .name("simulated clock".to_owned())
        .spawn(move || while matches!(take(&from, &followed), Ok(true)) {})?;
    Ok(Arc::new(move || Timestamp(wall().0.saturating_add(ahead.load(Ordering::Acquire)))))
}

/// Takes one time in; no if there is none any more.
fn take(wall: &Clock, ahead: &AtomicI64) -> std::io::Result<bool> {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let ms: i64 = line.trim().parse().map_err(std::io::Error::other)?;
    ahead.store(ms.saturating_sub(wall().0), Ordering::Release);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{ms}")?;
    out.flush()?;
    Ok(true)
}
