//! A filing that comes alone is prepared and folded in by several threads at once, one of many by one: what comes of it is
//! the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::time::Duration;

use budget_consolidator::budget::intake::TEXT_BYTES_MAX;
use budget_consolidator::budget::reason::Reason;
use budget_consolidator::consolidator::{Clock, Consolidator, PreparedFiling, embedded_form_sets};
use budget_consolidator::ledger::actor::Actor;
use budget_consolidator::store::{Journal, JournalError, MemoryJournal, RECORD_BYTES_MAX, Records};
use budget_consolidator::submission_file::SubmissionFile;
use budget_consolidator::wording::{Language, sentence};

use crate::support::*;

async fn furnished() -> TestServer {
    let server = TestServer::on(Arc::new(MemoryJournal::new())).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server
}

fn filing(code: &str) -> SubmissionFile {
    example(&format!("fenyang-2024/submissions/{code}.json"))
}

async fn prepared(server: &TestServer, code: &str) -> PreparedFiling {
    let form = server.consolidator.snapshot().state.form_set("shanxi-2024").unwrap().clone();
    server.consolidator.prepare(filing(code).place_on(&form), None, &form, (None, None)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_filing_is_prepared_alike_alone_and_beside_others() {
    let mut events = Vec::new();
    for others in [0, 1, 3] {
        let server = furnished().await;
        // Under way until they are let go.
        let mut beside = Vec::new();
        for _ in 0..others {
            beside.push(prepared(&server, "407004").await);
        }
        let one = prepared(&server, "407002").await;
        assert_eq!(one.reading().digest, filing("407002").read_on(&form("shanxi-2024")).digest);
        let actor = Actor::parse(&unit("407002")).unwrap();
        let done = server.consolidator.submit(actor, "once".into(), one).await.unwrap();
        assert!(done.checked.as_ref().is_some_and(|checked| checked.findings.len() > 50));
        events.push((done.envelope.fingerprint, done.envelope.event.clone(), done.checked.unwrap()));
        drop(beside);
        server.stop().await;
    }
    assert!(events.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_come_and_go_are_all_answered() {
    const ROUNDS: u32 = 6;
    let server = furnished().await;
    let codes = ["407002", "407003", "407004", "407005"];
    let start = Arc::new(Barrier::new(codes.len()));
    let mut tasks = Vec::new();
    for code in codes {
        let (client, file, start) = (server.client(&unit(code)).await, filing(code), start.clone());
        tasks.push(tokio::spawn(async move {
            tokio::task::block_in_place(|| start.wait());
            let mut positions = Vec::new();
            for version in 1..=ROUNDS {
                let answer = client.submit(&file, &form("shanxi-2024")).await.unwrap();
                assert_eq!(answer.version, version);
                positions.push(answer.position);
            }
            positions
        }));
    }
    let mut positions = Vec::new();
    for task in tasks {
        positions.extend(task.await.unwrap());
    }
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), codes.len() * ROUNDS as usize, "each has a place of its own");
    let view = server.client(BUREAU).await.view("407", &["T03"], false).await.unwrap();
    assert_eq!(view.filings as usize, codes.len());
    server.stop().await;
}

/// A journal of which one record has become unreadable.
struct Worn {
    journal: MemoryJournal,
    unreadable: AtomicU64,
}

impl Journal for Worn {
    fn head(&self) -> Result<u64, JournalError> {
        self.journal.head()
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        self.journal.append(expected_head, batch)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        if position == self.unreadable.load(Ordering::SeqCst) {
            return Err(JournalError::Damaged { position, what: "checksum".to_owned() });
        }
        self.journal.read(position)
    }

    fn scan(&self, from: u64) -> Records<'_> {
        self.journal.scan(from)
    }
}

/// What is on the disk and can't be folded in would end every later start: so it doesn't get there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filing_that_takes_the_place_of_an_unreadable_one_is_not_appended() {
    let worn = Arc::new(Worn { journal: MemoryJournal::new(), unreadable: AtomicU64::new(0) });
    let server = TestServer::on(worn.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let actor = Actor::parse(&unit("407002")).unwrap();
    let file = async |key: &str| {
        let one = prepared(&server, "407002").await;
        server.consolidator.submit(actor.clone(), key.into(), one).await
    };
    let first = file("first").await.unwrap().envelope.position;
    let second = file("second").await.unwrap().envelope.position;
    assert_eq!((worn.head().unwrap(), second), (second, first + 1), "what can be read is replaced");
    worn.unreadable.store(second, Ordering::SeqCst);
    let refused = file("third").await.unwrap_err();
    assert_eq!(refused.reason, Reason::JournalDamaged);
    assert_eq!(worn.head().unwrap(), second, "nothing was appended");
    assert_eq!(server.consolidator.snapshot().state.position, second);
    // Nor does it keep anybody else from filing.
    let other = prepared(&server, "407003").await;
    let other = server.consolidator.submit(Actor::parse(&unit("407003")).unwrap(), "other".into(), other).await;
    assert_eq!(other.unwrap().envelope.position, second + 1);
    assert!(server.consolidator.is_accepting());
    assert_eq!(file("fourth").await.unwrap_err().reason, Reason::JournalDamaged);
    server.stop().await;
}

/// Lets the writer's clock stand while a test puts a group together.
#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    is_reached: AtomicBool,
}

impl Gate {
    fn clock(self: &Arc<Gate>) -> Clock {
        let (gate, clock) = (self.clone(), test_clock());
        Arc::new(move || {
            let is_writer = std::thread::current().name() == Some("writer");
            // Not for ever: a test that fails must end too.
            for _ in 0..10_000 {
                if !is_writer || !gate.is_shut.load(Ordering::SeqCst) {
                    break;
                }
                gate.is_reached.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
            clock()
        })
    }
}

/// Texts that don't pack: more than a record may have, and less than a filing may.
fn endless(code: &str) -> SubmissionFile {
    let mut file = filing(code);
    let mut noise = 1u64;
    let mut text = || {
        let letter = |_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (noise >> 58) as u8)
        };
        (0..TEXT_BYTES_MAX).map(letter).collect::<String>()
    };
    let table = file.tables.iter_mut().find(|table| table.header.id == "PI").unwrap();
    for (_, values) in &mut table.rows {
        values.iter_mut().for_each(|value| *value = text());
    }
    file
}

/// What the store can't hold is refused by itself: whoever is decided in the same group hears what is meant for him.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_filing_that_no_record_holds_is_refused_by_itself() {
    let gate = Arc::new(Gate::default());
    let opened = Consolidator::open(Arc::new(MemoryJournal::new()), gate.clock(), embedded_form_sets(), None);
    let server = TestServer::around(opened.unwrap()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let (small, large) = (Actor::parse(&unit("407003")).unwrap(), Actor::parse(&unit("407002")).unwrap());
    let one = prepared(&server, "407003").await;
    let first = server.consolidator.submit(small.clone(), "once".into(), one).await.unwrap();

    let form = server.consolidator.snapshot().state.form_set("shanxi-2024").unwrap().clone();
    let placed = endless("407002").place_on(&form);
    let beyond = server.consolidator.prepare(placed, None, &form, (None, None)).await.unwrap();
    let again = prepared(&server, "407003").await;
    gate.is_shut.store(true, Ordering::SeqCst);
    let consolidator = server.consolidator.clone();
    let beyond = tokio::spawn(async move { consolidator.submit(large, "large".into(), beyond).await });
    until("the writer has it", async || gate.is_reached.load(Ordering::SeqCst)).await;
    // Asked once, it waits in the queue.
    let mut again = Box::pin(server.consolidator.submit(small.clone(), "once".into(), again));
    assert!(again.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    gate.is_shut.store(false, Ordering::SeqCst);

    let refused = beyond.await.unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::SubmissionTooLarge, "{refused}");
    assert!(refused.fact("packed").unwrap().parse::<usize>().unwrap() > RECORD_BYTES_MAX, "{refused}");
    let says = sentence(&refused, Language::English);
    assert!(says.contains(&format!("where {RECORD_BYTES_MAX} are allowed")), "{says}");
    let again = again.await.unwrap();
    assert_eq!((again.repeated, again.envelope.position), (true, first.envelope.position));
    assert_eq!(server.consolidator.snapshot().state.position, first.envelope.position, "nothing of it was kept");
    let next = prepared(&server, "407003").await;
    assert!(server.consolidator.submit(small, "next".into(), next).await.is_ok());
    server.stop().await;
}

/// A clock that fails only the writer stands for whatever may: health must not go on to say that filings are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_falls_takes_nothing_more_and_says_so() {
    let falls = Arc::new(AtomicU64::new(0));
    let clock: Clock = {
        let falls = falls.clone();
        Arc::new(move || {
            let is_writer = std::thread::current().name() == Some("writer");
            assert!(!is_writer || falls.load(Ordering::SeqCst) == 0, "on purpose");
            test_clock()()
        })
    };
    let opened = Consolidator::open(Arc::new(MemoryJournal::new()), clock, embedded_form_sets(), None).unwrap();
    let server = TestServer::around(opened).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    assert!(server.consolidator.is_accepting());
    falls.store(1, Ordering::SeqCst);
    let actor = Actor::parse(&unit("407002")).unwrap();
    let one = prepared(&server, "407002").await;
    let fallen = server.consolidator.submit(actor.clone(), "first".into(), one).await.unwrap_err();
    assert_eq!(fallen.reason, Reason::OutcomeUnknown);
    // Whoever waited may hear of it a moment before the writer's thread is gone.
    for _ in 0..500 {
        if !server.consolidator.is_accepting() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!server.consolidator.is_accepting());
    let one = prepared(&server, "407002").await;
    assert_eq!(server.consolidator.submit(actor, "second".into(), one).await.unwrap_err().reason, Reason::StoreStopped);
}
