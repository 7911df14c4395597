//! The figures, and the one table that they become.

use std::fmt;
use std::time::Duration;

use crate::percentile;

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) lone: Lone,
    pub(crate) lone_ruled: Lone,
    pub(crate) flooded: Flooded,
    pub(crate) sizes: Vec<Size>,
}

/// A lone client's filings, alone and beside one that floods with 64 streams.
#[derive(Default)]
pub(crate) struct Flooded {
    pub(crate) alone: Vec<Duration>,
    pub(crate) beside: Vec<Duration>,
    /// What the flood was answered meanwhile.
    pub(crate) others: u64,
}

/// A lone client's filings, one by one.
#[derive(Default)]
pub(crate) struct Lone {
    pub(crate) rows: f64,
    pub(crate) sink: Vec<Duration>,
    pub(crate) filed: Vec<Duration>,
    /// The same records, appended to a journal and synced with nothing around it.
    pub(crate) bare: Vec<Duration>,
}

/// What was measured with so many units.
#[derive(Default)]
pub(crate) struct Size {
    pub(crate) units: usize,
    pub(crate) lines: u64,
    pub(crate) ingest: Vec<Ingest>,
    pub(crate) views: Vec<Duration>,
    /// As of one of the last positions.
    pub(crate) past_views: Vec<Duration>,
    pub(crate) pages: Vec<Duration>,
    /// Bytes that the filings take.
    pub(crate) disk: u64,
    /// Bytes of the mirror, and of the saved state.
    pub(crate) mirror: u64,
    pub(crate) saved: u64,
    /// From the saved state, and from the first event.
    pub(crate) restart: Duration,
    pub(crate) rebuild: Duration,
    pub(crate) memory: u64,
    pub(crate) memory_restarted: u64,
}

/// Filings with so many streams.
#[derive(Default)]
pub(crate) struct Ingest {
    pub(crate) streams: usize,
    pub(crate) filings: u64,
    pub(crate) lines: u64,
    pub(crate) cells: u64,
    pub(crate) bytes: u64,
    pub(crate) sink: Time,
    /// Without rules, and with a synced mirror.
    pub(crate) plain: Time,
    pub(crate) plain_mirrored: Time,
    /// With every rule, and with a synced mirror.
    pub(crate) ruled: Time,
    pub(crate) ruled_mirrored: Time,
}

#[derive(Default)]
pub(crate) struct Time {
    pub(crate) wall: Duration,
    /// Of the server's process alone.
    pub(crate) processor: Duration,
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / 1024.0 / 1024.0)
}

impl Ingest {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.ruled.wall.as_secs_f64()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.sizes.last() else { return Ok(()) };
        let sum = |of: fn(&Ingest) -> u64| last.ingest.iter().map(of).sum::<u64>() as f64;
        let (filings, lines) = (sum(|i| i.filings), sum(|i| i.lines));
        writeln!(
            f,
            "\n{} filings of {:.0} lines, {:.1} cells and {:.0} bytes a line.\n",
            filings,
            lines / filings,
            sum(|i| i.cells) / lines,
            sum(|i| i.bytes) / lines
        )?;
        let mut row = |what: String, found: String, floor: &str, reach: &str| {
            writeln!(f, "| {what} | {found} | {floor} | {reach} |")
        };
        row("".into(), "measured".into(), "floor", "reach")?;
        row("---".into(), "---".into(), "---", "---")?;
        let (alone, beside) = (percentile(&self.flooded.alone, 50), percentile(&self.flooded.beside, 50));
        let times = beside.as_secs_f64() / alone.as_secs_f64();
        row(
            "a lone filing beside one client that floods with 64 streams, p50, against alone".into(),
            format!(
                "{times:.1} times ({}, alone {}; p99 {})",
                ms(beside),
                ms(alone),
                ms(percentile(&self.flooded.beside, 99))
            ),
            "",
            "",
        )?;
        row("– what the flood was answered meanwhile".into(), format!("{} filings", self.flooded.others), "", "")?;
        for ingest in &last.ingest {
            let streams =
                if ingest.streams == 1 { "1 stream".to_owned() } else { format!("{} streams", ingest.streams) };
            let sink = ingest.lines as f64 / ingest.sink.wall.as_secs_f64();
            let rows = [
                (format!("durable ingest, {streams}, share of the no-op sink"), &ingest.plain, ("40 %", "55 %")),
                ("– with a synced mirror".into(), &ingest.plain_mirrored, ("30 %", "")),
                ("– with every rule".into(), &ingest.ruled, ("30 %", "45 %")),
                ("– with every rule and a synced mirror".into(), &ingest.ruled_mirrored, ("25 %", "40 %")),
            ];
            for (what, time, targets) in rows {
                let share = ingest.sink.wall.as_secs_f64() / time.wall.as_secs_f64() * 100.0;
                let targets = if ingest.streams == 16 { targets } else { ("", "") };
                row(what, format!("**{share:.0} %** of {:.2} M lines/s", sink / 1e6), targets.0, targets.1)?;
            }
            row(
                format!("– {streams}, with every rule"),
                format!(
                    "{:.3} M lines/s, {:.2} M cells/s, {:.0} MB/s",
                    ingest.per_second(ingest.lines) / 1e6,
                    ingest.per_second(ingest.cells) / 1e6,
                    ingest.per_second(ingest.bytes) / 1e6
                ),
                "",
                "",
            )?;
            let a_line = |time: &Time| time.processor.as_secs_f64() * 1e6 / ingest.lines as f64;
            row(
                "– processor time a line: with every rule, without, sink".into(),
                format!(
                    "{:.2}, {:.2} and {:.2} µs",
                    a_line(&ingest.ruled),
                    a_line(&ingest.plain),
                    a_line(&ingest.sink)
                ),
                "",
                "",
            )?;
        }
        for (what, lone, targets) in
            [("", &self.lone, ("1 ms", "0.5 ms")), (" with every rule", &self.lone_ruled, ("2 ms", "1 ms"))]
        {
            let p50 = percentile(&lone.filed, 50);
            let bare = percentile(&lone.bare, 50);
            row(
                format!("lone filing of {:.0} lines{what}, p50 above append and sync", lone.rows),
                format!("**{}**", ms(p50.saturating_sub(bare))),
                targets.0,
                targets.1,
            )?;
            row("– p50, p99".into(), format!("{}, {}", ms(p50), ms(percentile(&lone.filed, 99))), "", "")?;
            row(
                "– bare append and sync, p50, p99".into(),
                format!("{}, {}", ms(bare), ms(percentile(&lone.bare, 99))),
                "",
                "",
            )?;
            row("– no-op sink, p50".into(), ms(percentile(&lone.sink, 50)), "", "")?;
        }
        for size in &self.sizes {
            let targets = if size.units == 10_000 { ("3 ms", "1.5 ms") } else { ("", "") };
            let p50 = ms(percentile(&size.views, 50));
            row(
                format!("view of everything at {} units, p50", size.units),
                format!("**{p50}**"),
                targets.0,
                targets.1,
            )?;
        }
        for size in &self.sizes {
            let (now, past) = (percentile(&size.views, 50), percentile(&size.past_views, 50));
            row(
                format!("– as of one of the last positions at {} units, p50, against now", size.units),
                format!("{}, **{:.1}×**", ms(past), past.as_secs_f64() / now.as_secs_f64()),
                "10×",
                "",
            )?;
        }
        let at = |units: usize| self.sizes.iter().find(|size| size.units == units);
        if let (Some(small), Some(large)) = (at(1_000), at(10_000)) {
            let p50 = |size: &Size| percentile(&size.views, 50).as_secs_f64();
            row("– 10,000 against 1,000".into(), format!("**{:.2}×**", p50(large) / p50(small)), "1.2×", "1.0×")?;
        }
        let units = last.units;
        row(
            format!("first page of projects at {units} units, p50"),
            format!("**{}**", ms(percentile(&last.pages, 50))),
            "10 ms",
            "3 ms",
        )?;
        row(
            format!("disk in sled a line at {units} units"),
            format!("**{:.1} B**", last.disk as f64 / last.lines as f64),
            "45 B",
            "30 B",
        )?;
        row("– mirror, saved state".into(), format!("{}, {}", mib(last.mirror), mib(last.saved)), "", "")?;
        row(
            format!("restart at {units} units to the first view"),
            format!("**{:.2} s**", last.restart.as_secs_f64()),
            "2 s",
            "0.5 s",
        )?;
        row("– by a full fold".into(), format!("{:.2} s", last.rebuild.as_secs_f64()), "", "")?;
        row(
            format!("peak resident memory at {units} units"),
            format!("**{}**, after a restart {}", mib(last.memory), mib(last.memory_restarted)),
            "400 MB",
            "200 MB",
        )
    }
}
