//! Checkpoints and proofs over a real socket, and what a start makes of a store that is not what was signed.

use std::path::Path;
use std::sync::Arc;

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::reason::Reason;
use budget_consolidator::consolidator::{Consolidator, SAVED_STATE_FILE, SAVED_TREE_FILE, Signing, embedded_form_sets};
use budget_consolidator::ledger::checkpoint::{self, Checkpoint, PublicKey};
use budget_consolidator::ledger::event::Event;
use budget_consolidator::ledger::tree::{Tree, is_consistent, leaf_hash, root_of_inclusion};
use budget_consolidator::proto::api;
use budget_consolidator::store::{Journal, KEY_FILE, MemoryJournal, ReplacedFile};
use tonic::Code;

use crate::support::{AUDITOR, Client, TestServer, example, form, reason, test_clock, unit};

const ORIGIN: &str = "budget.example/2024";

fn signing(folder: &Path) -> Signing {
    Signing::open(&folder.join("signing"), Some(ORIGIN)).unwrap()
}

/// A journal in memory with some events, and the server on it.
async fn served(journal: &Arc<MemoryJournal>, folder: &Path) -> TestServer {
    let saved = ReplacedFile::new(folder, SAVED_STATE_FILE);
    TestServer::signing(journal.clone(), Some(saved), Some(signing(folder))).await
}

async fn file(server: &TestServer, code: &str) -> api::SubmitResponse {
    let filing = example(&format!("fenyang-2024/submissions/{code}.json"));
    server.client(&unit(code)).await.submit(&filing, &form("shanxi-2024")).await.unwrap()
}

async fn checkpoint_of(client: &Client) -> (String, Checkpoint) {
    let note = client.audit().get_checkpoint(api::GetCheckpointRequest {}).await.unwrap().into_inner().checkpoint;
    let key = client.audit().get_public_key(api::GetPublicKeyRequest {}).await.unwrap().into_inner().public_key;
    let checkpoint = checkpoint::verify(&note, &[PublicKey::parse(&key).unwrap()]).unwrap();
    (note, checkpoint)
}

fn digests(path: &[Vec<u8>]) -> Vec<Digest> {
    path.iter().map(|hash| Digest::from_bytes(hash).unwrap()).collect()
}

/// The tree worked out from the records alone.
fn recomputed(journal: &dyn Journal) -> Tree {
    Tree::of(journal.scan(1).map(|record| leaf_hash(&record.unwrap().1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_proved_against_the_checkpoint_and_old_ones_are_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let auditor = server.client(AUDITOR).await;
    let (_, before) = checkpoint_of(&auditor).await;
    let filed = file(&server, "407001").await;
    let (note, now) = checkpoint_of(&auditor).await;
    assert_eq!((now.origin.as_str(), now.size), (ORIGIN, filed.position));
    assert_eq!(now.root, recomputed(journal.as_ref()).root(now.size).unwrap());

    for position in 1..=now.size {
        let request = api::GetInclusionProofRequest { position, size: 0 };
        let proof = auditor.audit().get_inclusion_proof(request).await.unwrap().into_inner();
        assert_eq!(proof.leaf_hash, leaf_hash(&journal.read(position).unwrap().unwrap()).0);
        let leaf = Digest::from_bytes(&proof.leaf_hash).unwrap();
        let root = root_of_inclusion(&leaf, position - 1, proof.size, &digests(&proof.path));
        assert_eq!((root, &proof.checkpoint), (Some(now.root), &note));
    }
    let request = api::GetConsistencyProofRequest { old_size: before.size, size: 0 };
    let proof = auditor.audit().get_consistency_proof(request).await.unwrap().into_inner();
    assert!(is_consistent((before.size, &before.root), (now.size, &now.root), &digests(&proof.path)));

    let beyond = api::GetInclusionProofRequest { position: now.size + 1, size: 0 };
    let refused = auditor.audit().get_inclusion_proof(beyond).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "UNKNOWN_POSITION"));
    let beyond = api::GetConsistencyProofRequest { old_size: 1, size: now.size + 1 };
    assert_eq!(reason(&auditor.audit().get_consistency_proof(beyond).await.unwrap_err()), "UNKNOWN_POSITION");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_for_whoever_may_read_the_event() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let position = file(&server, "407001").await.position;
    let get = async |actor: &str, position| {
        let client = server.client(actor).await;
        client.audit().get_receipt(api::GetReceiptRequest { position }).await.map(|answer| answer.into_inner())
    };
    let receipt = get(&unit("407001"), position).await.unwrap();
    assert_eq!(receipt.leaf, journal.read(position).unwrap().unwrap());
    let key = PublicKey::parse(&receipt.public_key).unwrap();
    let signed = checkpoint::verify(&receipt.checkpoint, &[key]).unwrap();
    let root = root_of_inclusion(&leaf_hash(&receipt.leaf), position - 1, signed.size, &digests(&receipt.path));
    assert_eq!(root, Some(signed.root));
    assert_eq!(get(AUDITOR, position).await.unwrap().leaf, receipt.leaf);
    for (actor, position) in
        [(unit("407002"), position), (unit("407001"), 1), ("budget://508/department".into(), position)]
    {
        assert_eq!(reason(&get(&actor, position).await.unwrap_err()), "NOT_PERMITTED", "{actor} {position}");
    }
    assert_eq!(reason(&get("", position).await.unwrap_err()), "UNKNOWN_ACTOR");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_hashes_only_what_is_new_and_has_the_same_root() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    let saved = std::fs::read(folder.path().join(SAVED_TREE_FILE)).unwrap();
    let root = recomputed(journal.as_ref()).root(journal.head().unwrap()).unwrap();
    // Whole; damaged; cut off; of another journal; absent: each time the same root.
    let mut flipped = saved.clone();
    flipped[100] ^= 1;
    let foreign = {
        let hashes: Vec<u8> = (1..=journal.head().unwrap()).flat_map(|n| leaf_hash(&n.to_be_bytes()).0).collect();
        [&saved[..41], &Digest::of(&hashes).0, &hashes].concat()
    };
    for bytes in [saved.clone(), flipped, saved[..saved.len() - 1].to_vec(), foreign, Vec::new()] {
        std::fs::write(folder.path().join(SAVED_TREE_FILE), bytes).unwrap();
        let server = served(&journal, folder.path()).await;
        let (_, checkpoint) = checkpoint_of(&server.client(AUDITOR).await).await;
        assert_eq!(checkpoint.root, root);
        server.stop().await;
    }
    // A tree that is older than the state is caught up with the journal.
    let server = served(&journal, folder.path()).await;
    file(&server, "407001").await;
    server.stop().await;
    std::fs::write(folder.path().join(SAVED_TREE_FILE), saved).unwrap();
    let server = served(&journal, folder.path()).await;
    let (_, checkpoint) = checkpoint_of(&server.client(AUDITOR).await).await;
    assert_eq!(checkpoint.root, recomputed(journal.as_ref()).root(journal.head().unwrap()).unwrap());
    server.stop().await;
}

fn start(
    journal: MemoryJournal,
    signing: Signing,
) -> Result<Consolidator, budget_consolidator::budget::reason::Remark> {
    let opened = Consolidator::open_signing(Arc::new(journal), test_clock(), embedded_form_sets(), None, Some(signing));
    opened.map(|(consolidator, _)| consolidator)
}

/// The first `through` records of a journal.
fn beginning(journal: &dyn Journal, through: u64) -> MemoryJournal {
    let begun = MemoryJournal::new();
    for record in journal.scan(1).take(usize::try_from(through).unwrap()) {
        let (position, bytes) = record.unwrap();
        begun.append(position - 1, &[bytes]).unwrap();
    }
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_what_was_signed_is_not_served_unless_the_rest_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let (note, signed) = checkpoint_of(&server.client(AUDITOR).await).await;
    server.stop().await;

    let behind = || beginning(journal.as_ref(), signed.size - 1);
    let refused = start(behind(), signing(folder.path())).err().unwrap();
    assert_eq!(refused.reason, Reason::StoreBehindCheckpoint);
    assert_eq!((refused.fact("head"), refused.fact("size")), (Some("3"), Some("4")), "{refused}");
    // Another position is no leave: whoever gives something up says where.
    let refused = start(behind(), signing(folder.path()).giving_up_after(Some(1))).err().unwrap();
    assert_eq!(refused.reason, Reason::StoreBehindCheckpoint);

    let store = behind();
    let consolidator = start(store, signing(folder.path()).giving_up_after(Some(signed.size - 1))).unwrap();
    let event = consolidator.snapshot().event(signed.size).unwrap().event;
    let Event::TailGivenUp(given_up) = event else { panic!("{event:?}") };
    assert_eq!(given_up.checkpoint, note);
    let restarted = consolidator.snapshot().checkpoint().unwrap();
    assert_ne!(restarted.root, signed.root);
    consolidator.close().await;
    drop(consolidator);
    // From now on the new history is the one that counts, the old one is not what was signed.
    let refused = loop {
        // The writer lets go of the signing directory when it has ended.
        match Signing::open(&folder.path().join("signing"), None) {
            Ok(signing) => break start(beginning(journal.as_ref(), signed.size), signing).err().unwrap(),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    assert_eq!(refused.reason, Reason::StoreNotAsSigned);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_changed_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    // The same events, one of them a second later.
    let other = Arc::new(MemoryJournal::new());
    let server = TestServer::on(other.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    let changed = beginning(other.as_ref(), u64::MAX);
    let refused = start(changed, signing(folder.path())).err().unwrap();
    assert_eq!(refused.reason, Reason::StoreNotAsSigned, "{refused}");
    // Nothing is lost, so there is nothing to give up.
    let changed = beginning(other.as_ref(), u64::MAX);
    let head = changed.head().unwrap();
    let refused = start(changed, signing(folder.path()).giving_up_after(Some(head))).err().unwrap();
    assert_eq!(refused.reason, Reason::StoreNotAsSigned, "{refused}");
}

/// A key of the same name that has not signed the last checkpoint is somebody else's, or an old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_not_signed_the_last_checkpoint_is_refused() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    server.client(AUDITOR).await.audit().get_checkpoint(api::GetCheckpointRequest {}).await.unwrap();
    server.stop().await;
    drop(signing(other.path()));
    let key = |folder: &Path| folder.join("signing").join(KEY_FILE);
    std::fs::copy(key(other.path()), key(folder.path())).unwrap();
    let refused = Signing::open(&folder.path().join("signing"), None).err().unwrap();
    assert_eq!(refused.reason, Reason::SigningKeyUnusable, "{refused}");
    assert_eq!(refused.fact("what"), Some("other-key"), "{refused}");
    // Nor is one of another name than is asked for.
    let refused = Signing::open(&other.path().join("signing"), Some("another.example")).err().unwrap();
    assert_eq!(refused.reason, Reason::SigningKeyUnusable, "{refused}");
    assert_eq!((refused.fact("what"), refused.fact("name")), (Some("other-name"), Some(ORIGIN)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_vouched_for_by_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    let client = server.client(AUDITOR).await;
    let old = client.audit().get_public_key(api::GetPublicKeyRequest {}).await.unwrap().into_inner();
    let (_, before) = checkpoint_of(&client).await;
    server.stop().await;
    let new = signing(folder.path()).rotate().unwrap();
    let server = served(&journal, folder.path()).await;
    let client = server.client(AUDITOR).await;
    let keys = client.audit().get_public_key(api::GetPublicKeyRequest {}).await.unwrap().into_inner();
    assert_eq!(keys.public_key, new.to_string());
    let [change] = keys.key_changes.as_slice() else { panic!("{keys:?}") };
    let old = PublicKey::parse(&old.public_key).unwrap();
    assert_ne!(old, new);
    let trusted = checkpoint::verify(change, &[old]).unwrap();
    assert_eq!((trusted.root, trusted.successor.as_ref()), (before.root, Some(&new)));
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    assert!(checkpoint_of(&client).await.1.size > before.size);
    server.stop().await;
}

/// A crash between the note that hands over to a new key and that key leaves the note: nobody ever signs by what it names.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_a_key_that_never_came_to_be_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(&journal, folder.path()).await;
    checkpoint_of(&server.client(AUDITOR).await).await;
    server.stop().await;
    let key = folder.path().join("signing").join(KEY_FILE);
    let before = std::fs::read(&key).unwrap();
    let lost = signing(folder.path()).rotate().unwrap();
    std::fs::write(&key, before).unwrap();
    let keys_of = async |server: &TestServer| {
        let client = server.client(AUDITOR).await;
        client.audit().get_public_key(api::GetPublicKeyRequest {}).await.unwrap().into_inner()
    };
    let server = served(&journal, folder.path()).await;
    let keys = keys_of(&server).await;
    assert!(keys.key_changes.is_empty() && keys.public_key != lost.to_string(), "{keys:?}");
    // Nobody is told of the key that is lost either: the same head is signed anew, and it proves what it should.
    let (note, signed) = checkpoint_of(&server.client(AUDITOR).await).await;
    assert_eq!((signed.successor, note.contains(&lost.to_string())), (None, false), "{note}");
    assert_eq!(signed.root, recomputed(journal.as_ref()).root(journal.head().unwrap()).unwrap());
    server.stop().await;
    let server = served(&journal, folder.path()).await;
    assert_eq!(checkpoint_of(&server.client(AUDITOR).await).await.0, note, "and again");
    server.stop().await;
    let new = signing(folder.path()).rotate().unwrap();
    let server = served(&journal, folder.path()).await;
    let keys = keys_of(&server).await;
    let [change] = keys.key_changes.as_slice() else { panic!("{keys:?}") };
    assert_eq!((&keys.public_key, change.contains(&lost.to_string())), (&new.to_string(), false));
    let trusted = checkpoint::verify(change, std::slice::from_ref(&new)).unwrap();
    assert_eq!(trusted.successor, Some(new));
    server.stop().await;
}
