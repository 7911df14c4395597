//! What waits for the writer, of all identities together.

use std::sync::{Arc, Condvar, Mutex};

use budget_consolidator::ledger::actor::Actor;
use budget_consolidator::store::{Journal, JournalError, MemoryJournal, Records};
use tokio::task::JoinHandle;

use super::*;

/// A journal that takes nothing while it is held.
struct Held {
    inside: MemoryJournal,
    /// Whether it is held, and whether somebody waits for that to end.
    held: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Held {
    fn hold(&self, held: bool) {
        self.held.lock().unwrap().0 = held;
        self.changed.notify_all();
    }
}

impl Journal for Held {
    fn append(&self, head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        let mut state = self.held.lock().unwrap();
        while state.0 {
            state.1 = true;
            state = self.changed.wait(state).unwrap();
        }
        state.1 = false;
        drop(state);
        self.inside.append(head, batch)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.inside.read(position)
    }

    fn scan(&self, from: u64) -> Records<'_> {
        self.inside.scan(from)
    }

    fn head(&self) -> Result<u64, JournalError> {
        self.inside.head()
    }
}

type Answer = JoinHandle<Result<api::SubmitResponse, Status>>;

/// A server whose writer is held with one filing in its hands.
struct Scene {
    server: TestServer,
    journal: Arc<Held>,
    first: Answer,
}

impl Scene {
    async fn within(waiting_bytes: usize) -> Scene {
        let (inside, held) = (MemoryJournal::new(), Mutex::new((false, false)));
        let journal = Arc::new(Held { inside, held, changed: Condvar::new() });
        let bounds = Bounds { waiting_bytes, ..Bounds::default() };
        let server = TestServer::on_within(journal.clone(), bounds).await;
        server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
        journal.hold(true);
        let first = Scene::file(&server, "407001").await;
        until("the writer is held", async || journal.held.lock().unwrap().1).await;
        Scene { server, journal, first }
    }

    async fn file(server: &TestServer, code: &str) -> Answer {
        let client = server.client(&unit(code)).await;
        let file = example(&format!("fenyang-2024/submissions/{code}.json"));
        tokio::spawn(async move { client.submit(&file, &form("shanxi-2024")).await })
    }

    /// How many commands wait, and how many bytes they take, as an operator sees it.
    fn waiting(&self) -> (usize, usize) {
        let page = self.server.consolidator.metrics(Free::default(), &[]);
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
        };
        (value("budget_writer_queue"), value("budget_writer_queue_bytes"))
    }

    /// Files, and waits until so many wait.
    async fn queued(&self, code: &str, expected: usize) -> Answer {
        let answer = Scene::file(&self.server, code).await;
        until("it waits", async || self.waiting().0 == expected).await;
        answer
    }

    /// Lets the writer go on, until everything is answered: the versions, and how far behind the first one each stands.
    async fn end(mut self, answers: Vec<Answer>) -> Vec<(u32, u64)> {
        self.journal.hold(false);
        let first = (&mut self.first).await.unwrap().unwrap();
        let mut told = Vec::new();
        for answer in answers {
            let answer = answer.await.unwrap().unwrap();
            told.push((answer.version, answer.position - first.position));
        }
        assert_eq!(first.version, 1);
        until("nothing waits", async || self.waiting() == (0, 0)).await;
        self.server.stop().await;
        told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_much_waits_for_the_writer_as_may() {
    let scene = Scene::within(limits::WAITING_BYTES_MAX).await;
    let answer = scene.queued("407004", 1).await;
    let bytes = scene.waiting().1;
    assert!(bytes > 4_096, "{bytes}");
    assert_eq!(scene.end(vec![answer]).await, [(1, 1)]);

    // Two of them fit.
    let scene = Scene::within(2 * bytes).await;
    let answers = vec![scene.queued("407004", 1).await, scene.queued("407004", 2).await];
    assert_eq!(scene.waiting(), (2, 2 * bytes));
    assert_eq!(scene.end(answers).await, [(1, 1), (2, 2)]);

    // One byte less, and one of the two is refused at once; the other is not touched.
    let scene = Scene::within(2 * bytes - 1).await;
    let waiting = scene.queued("407004", 1).await;
    let beyond = in_time(Scene::file(&scene.server, "407004").await).await.unwrap();
    assert_eq!(scene.waiting(), (1, bytes));
    refused(beyond, Code::Unavailable, "BUSY", "1");
    assert!(scene.server.consolidator.metrics(Free::default(), &[]).contains("limit=\"waiting\"} 1"));
    assert_eq!(scene.end(vec![waiting]).await, [(1, 1)]);
}

/// Whoever has the most waiting makes room, so that nobody is kept out by another's flood; and the writer takes of each in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_fills_the_queue_keeps_nobody_else_out() {
    let scene = Scene::within(limits::WAITING_BYTES_MAX).await;
    let answer = scene.queued("407004", 1).await;
    let bytes = scene.waiting().1;
    scene.end(vec![answer]).await;

    let scene = Scene::within(4 * bytes + bytes / 2).await;
    let mut flood = Vec::new();
    for waiting in 1..=4 {
        flood.push(scene.queued("407004", waiting).await);
    }
    let other = Scene::file(&scene.server, "407005").await;
    until("one of the flood is refused", async || flood.iter().any(JoinHandle::is_finished)).await;
    assert!(!other.is_finished());
    let at = flood.iter().position(JoinHandle::is_finished).unwrap();
    assert_eq!(at, 3, "the last of the flood, not the first");
    refused(flood.remove(at).await.unwrap(), Code::Unavailable, "BUSY", "4");
    let answers = flood.into_iter().chain([other]).collect();
    // And whoever came last waits for one of the flood, not for all of it.
    assert_eq!(scene.end(answers).await, [(1, 1), (2, 3), (3, 4), (1, 2)]);
}

/// Looks of auditors wait behind what matters: beyond so many they are lost, which is counted, and the read is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_look_waits_behind_a_thousand_commands() {
    let scene = Scene::within(limits::WAITING_BYTES_MAX).await;
    let auditor = scene.server.client(AUDITOR).await;
    scene.server.consolidator.record_looks();
    let lost = |count: usize| {
        scene.server.consolidator.metrics(Free::default(), &[]).contains(&format!("budget_looks_lost_total {count}\n"))
    };
    let actor = Actor::parse(AUDITOR).unwrap();
    for _ in 0..1_024 {
        scene.server.consolidator.looked(&actor, "AuditService/GetHistory", "407");
    }
    until("all of them wait", async || scene.waiting().0 == 1_024).await;
    assert!(lost(0));
    auditor.status_board("407").await;
    assert!(lost(1));
    scene.end(Vec::new()).await;
}
