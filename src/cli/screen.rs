//! A part of a terminal that is drawn over and over in place.
//!
//! Each drawing goes up to where the last one began, writes every line over the old one and clears what is left of it:
//! nothing is blank in between, so nothing flickers. What doesn't fit is counted, since a terminal can't go back to a
//! line that has left it.

use unicode_width::UnicodeWidthChar;

/// Rows of a terminal that doesn't say how many it has.
const ROWS: u16 = 24;

/// Where something is drawn in place.
#[derive(Debug)]
pub(super) struct Screen {
    width: usize,
    rows: usize,
    /// How many rows were drawn the last time.
    drawn: usize,
}

impl Screen {
    /// The terminal of that width; none if there is none.
    pub(super) fn of_terminal(width: Option<u16>) -> Option<Screen> {
        let rows = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).map_or(0, |size| size.ws_row);
        width.map(|width| Screen::new(width, if rows < 4 { ROWS } else { rows }))
    }

    fn new(width: u16, rows: u16) -> Screen {
        Screen { width: width.into(), rows: rows.into(), drawn: 0 }
    }

    /// What to write so that `text` and a last line stand where the last drawing stood.
    pub(super) fn draw(&mut self, text: &str, foot: &str) -> String {
        let room = self.rows.saturating_sub(3);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let shown = if lines.len() > room { room } else { lines.len() };
        let mut out = String::from("\u{1b}[?2026h");
        if self.drawn > 0 {
            out.push_str(&format!("\u{1b}[{}A", self.drawn));
        }
        let more = format!("… +{}", lines.len() - shown);
        let rest = (lines.len() > shown).then_some(more.as_str());
        let mut drawn = 0;
        for line in lines.iter().take(shown).copied().chain(rest).chain([foot.trim_end()]) {
            out.push('\r');
            out.push_str(&cut(line, self.width));
            out.push_str("\u{1b}[0m\u{1b}[K\n");
            drawn += 1;
        }
        out.push_str("\u{1b}[J\u{1b}[?2026l");
        self.drawn = drawn;
        out
    }
}

/// The front of a line that fits; colours take no room.
fn cut(line: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut escape = false;
    for c in line.chars() {
        if escape || c == '\u{1b}' {
            escape = c != 'm';
        } else {
            used += c.width().unwrap_or(0);
            if used > width {
                break;
            }
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drawing_stands_where_the_last_one_stood() {
        let mut screen = Screen::new(40, 10);
        let first = screen.draw("a\nb\n", "foot");
        assert!(!first.contains('A'), "nothing to go up to: {first:?}");
        assert!(screen.draw("a\nb\nc\n", "foot").contains("\u{1b}[3A"));
        let shorter = screen.draw("a\n", "foot");
        assert!(shorter.contains("\u{1b}[4A") && shorter.ends_with("\u{1b}[J\u{1b}[?2026l"));
        // No drawing clears the whole screen or a line before it is written.
        assert!(!shorter.contains("[2J") && !shorter.contains("[2K"));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_scrolls() {
        let mut screen = Screen::new(40, 10);
        let text: String = (0..20).map(|n| format!("line {n}\n")).collect();
        let drawn = screen.draw(&text, "foot");
        assert_eq!(drawn.matches('\n').count(), 9, "one row less than there are");
        assert!(drawn.contains("line 6") && !drawn.contains("line 7") && drawn.contains("… +13"), "{drawn}");
    }

    #[test]
    fn lines_are_cut_at_the_edge_whatever_their_colour() {
        assert_eq!(cut("汾阳市", 4), "汾阳");
        assert_eq!(cut("\u{1b}[1mab\u{1b}[0mc", 2), "\u{1b}[1mab\u{1b}[0m");
    }
}
