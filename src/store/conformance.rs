//! One suite for every backend.
use super::{Change, Changes, Expect, Record, Store, StoreError, memory::MemoryStore, sqlite::SqliteStore};
use crate::clock::Timestamp;
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000);

fn record(key: &str, expires: Option<i64>) -> Record {
    let (index, body) = (Some("kind/a".to_owned()), b"body".to_vec());
    Record { key: key.to_owned(), version: 0, index, expires: expires.map(Timestamp), body }
}

fn put(key: &str, expires: Option<i64>, expect: Expect) -> Changes {
    Changes(vec![Change::Put(record(key, expires), expect)])
}

async fn suite(store: Arc<dyn Store>) {
    store.commit(put("a/1", None, Expect::Absent), NOW).await.unwrap();
    assert!(matches!(store.commit(put("a/1", None, Expect::Absent), NOW).await, Err(StoreError::Conflict(_))));
    store.commit(put("a/1", None, Expect::Version(1)), NOW).await.unwrap();
    assert_eq!(store.get("a/1", NOW).await.unwrap().unwrap().version, 2);

    let mut both = put("a/2", None, Expect::Absent);
    both.0.push(Change::Delete("a/1".to_owned(), Expect::Version(1)));
    assert!(store.commit(both, NOW).await.is_err());
    assert_eq!(store.get("a/2", NOW).await.unwrap(), None, "a commit is whole or nothing");

    store.commit(put("a/3", Some(1_010), Expect::Absent), NOW).await.unwrap();
    assert_eq!(store.find("kind/a", NOW).await.unwrap().len(), 2);
    let keys = |page: Vec<Record>| page.into_iter().map(|r| r.key).collect::<Vec<_>>();
    assert_eq!(keys(store.page("a/", "", 1, NOW).await.unwrap()), ["a/1"], "a page is as long as was asked");
    assert_eq!(keys(store.page("a/", "a/1", 9, NOW).await.unwrap()), ["a/3"], "and begins behind the last one's end");
    assert_eq!(keys(store.page("b/", "a/1", 9, NOW).await.unwrap()), [""; 0]);
    assert_eq!(store.scan("a/", Timestamp(1_010)).await.unwrap().len(), 1, "expired at its instant");
    store.commit(put("a/3", Some(1_020), Expect::Absent), Timestamp(1_010)).await.unwrap();
    assert_eq!(store.purge(Timestamp(1_015), 10).await.unwrap(), 0);
    assert_eq!(store.purge(Timestamp(1_021), 10).await.unwrap(), 1);

    assert_eq!(store.feed(0, 10).await.unwrap(), [], "nobody else has to hear of these");
    for key in ["revoked/1", "blocked/2", "revoked/1"] {
        store.commit(put(key, None, Expect::Any), NOW).await.unwrap();
    }
    assert!(store.commit(put("revoked/3", None, Expect::Version(7)), NOW).await.is_err());
    let feed = store.feed(0, 10).await.unwrap();
    assert_eq!(feed.iter().map(|e| &*e.key).collect::<Vec<_>>(), ["revoked/1", "blocked/2", "revoked/1"]);
    assert!(feed.windows(2).all(|w| w[0].sequence < w[1].sequence));
    assert_eq!(store.feed_end().await.unwrap(), feed.last().unwrap().sequence);
    assert_eq!(store.feed(feed[0].sequence, 1).await.unwrap(), feed[1..2]);

    let racers: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(put("race", None, Expect::Absent), NOW).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn memory() {
    suite(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn sqlite_and_it_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    suite(Arc::new(SqliteStore::open(&path, None).unwrap())).await;
    let again = SqliteStore::open(&path, None).unwrap();
    assert!(again.get("race", NOW).await.unwrap().is_some());
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE record SET body = x'00' WHERE key = 'race'", []).unwrap();
    assert!(matches!(again.get("race", NOW).await, Err(StoreError::Corrupt(_))), "F9");
}

#[test]
fn a_damaged_file_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    std::fs::write(&path, vec![0x5a; 8192]).unwrap();
    assert!(matches!(SqliteStore::open(&path, None), Err(StoreError::Corrupt(_))));
}
