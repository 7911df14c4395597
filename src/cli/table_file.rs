//! CSV files that verbs read, and requests that are made once however often they are sent.

use std::path::Path;

use tonic::{Response, Status};

use super::attempt::Attempt;
use super::client::Client;
use super::output::Failure;
use super::settings::Settings;
use super::submit::is_final;
use crate::proto::Message;
use crate::submission_file::without_mark;

/// A CSV with the columns that were asked for, in that order.
#[derive(Debug)]
pub(super) struct TableFile<const N: usize> {
    /// The file as it is.
    pub(super) bytes: Vec<u8>,
    /// Its rows.
    pub(super) rows: Vec<[String; N]>,
    /// In which line of the file each row begins.
    pub(super) lines: Vec<u64>,
}

impl<const N: usize> TableFile<N> {
    /// Reads a CSV; its header names the columns, in any order, and each must be there and no other.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub(super) fn read(path: &Path, columns: &[&str; N], settings: &Settings) -> Result<TableFile<N>, Failure> {
        TableFile::read_columns(path, columns, false, settings)
    }

    /// The same of a file that may have other columns as well.
    pub(super) fn read_some(path: &Path, columns: &[&str; N], settings: &Settings) -> Result<TableFile<N>, Failure> {
        TableFile::read_columns(path, columns, true, settings)
    }

    fn read_columns(
        path: &Path,
        columns: &[&str; N],
        others: bool,
        settings: &Settings,
    ) -> Result<TableFile<N>, Failure> {
        let name = path.display().to_string();
        let wrong = |key: &str, error: &str| Failure::Usage(settings.say(key, &[("file", &name), ("error", error)]));
        let bytes = std::fs::read(path).map_err(|error| settings.unreadable(path, &error))?;
        let text = std::str::from_utf8(without_mark(&bytes)).map_err(|_| wrong("file-not-utf8", ""))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| wrong("csv-wrong", &error.to_string()))?.clone();
        let places: Vec<Option<usize>> =
            columns.iter().map(|column| header.iter().position(|found| found == *column)).collect();
        if places.contains(&None) || (header.len() != N && !others) {
            let found: Vec<&str> = header.iter().collect();
            let facts = [("file", name.as_str()), ("found", &found.join(",")), ("expected", &columns.join(","))];
            return Err(Failure::Usage(settings.say("csv-header-wrong", &facts)));
        }
        let (mut rows, mut lines, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(|error| wrong("csv-wrong", &error.to_string()))?;
            let line = record.position().map_or(0, |at| line_of(text, at));
            if record.len() != header.len() {
                let facts = [("line", line.to_string()), ("n", record.len().to_string())];
                odd.push(settings.say("csv-odd-line", &facts.each_ref().map(|(name, fact)| (*name, fact.as_str()))));
                continue;
            }
            let mut row = std::array::from_fn(|_| String::new());
            for (cell, place) in row.iter_mut().zip(&places) {
                *cell = place.and_then(|place| record.get(place)).unwrap_or("").to_owned();
            }
            rows.push(row);
            lines.push(line);
        }
        if !odd.is_empty() {
            let (expected, odd) = (header.len().to_string(), odd.join(settings.label("list-comma")));
            let facts = [("file", name.as_str()), ("expected", &expected), ("lines", &odd)];
            return Err(Failure::Usage(settings.say("csv-odd", &facts)));
        }
        Ok(TableFile { bytes, rows, lines })
    }
}

/// The line that a record begins in: the reader counts blank lines in front of it as its own.
fn line_of(text: &str, at: &csv::Position) -> u64 {
    let from = usize::try_from(at.byte()).ok().and_then(|byte| text.as_bytes().get(byte..)).unwrap_or(&[]);
    let blank = from.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    at.line() + blank.filter(|byte| **byte == b'\n').count() as u64
}

/// The answer to a request with a key: if it is one, the attempt is over.
pub(super) fn receipt<T>(answer: Result<Response<T>, Status>, attempt: Attempt, client: &Client) -> Result<T, Failure> {
    match answer {
        Ok(answer) => {
            attempt.answered();
            Ok(answer.into_inner())
        }
        Err(status) => {
            let failure = client.failure(&status);
            if is_final(&failure) {
                attempt.answered();
            }
            Err(failure)
        }
    }
}

/// Makes a request that no file is sent with. After an unknown outcome the same command makes the same request again:
/// same server, same asker, same words, so the key is the same and the first answer comes back.
pub(super) async fn once<Q: Message, A>(
    client: &Client,
    settings: &Settings,
    request: impl Fn(String) -> Q,
    send: impl AsyncFnOnce(Q) -> Result<Response<A>, Status>,
) -> Result<A, Failure> {
    let (name, actor) = (std::any::type_name::<Q>(), settings.actor_text());
    let whole = request(String::new()).encode_to_vec();
    let parts = [settings.server.as_bytes(), actor.as_bytes(), name.as_bytes(), &whole];
    let attempt = Attempt::within(settings.unanswered().as_deref(), &parts);
    let answer = send(request(attempt.key().to_owned())).await;
    receipt(answer, attempt, client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::settings;

    fn read(text: &str) -> Result<TableFile<2>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        TableFile::read(&path, &["code", "name"], &settings())
    }

    #[test]
    fn columns_are_found_by_name() {
        let file = read("\u{feff}name,code\n甲 , 1\n").unwrap();
        assert_eq!(file.rows, [["1".to_owned(), "甲".to_owned()]]);
    }

    #[test]
    fn each_row_knows_its_line() {
        let file = read("code,name\r\n1,甲\r\n\r\n\n2,\"乙\n丙\"\n3,丁").unwrap();
        assert_eq!(file.lines, [2, 5, 7]);
    }

    #[test]
    fn other_columns_can_be_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "more,name,code\nx,甲,1\n").unwrap();
        let file = TableFile::read_some(&path, &["code", "name"], &settings()).unwrap();
        assert_eq!(file.rows, [["1".to_owned(), "甲".to_owned()]]);
    }

    #[test]
    fn other_columns_are_refused_by_name() {
        let Err(Failure::Usage(text)) = read("code,nam\n") else { panic!("taken") };
        assert!(text.contains("code,nam") && text.contains("code,name"), "{text}");
    }

    #[test]
    fn every_line_of_another_width_is_named() {
        let Err(Failure::Usage(text)) = read("code,name\n1\n2,乙\n\n3,丙,x\n") else { panic!("taken") };
        assert!(text.contains("第 2 行有 1 栏") && text.contains("第 5 行有 3 栏"), "{text}");
    }
}
