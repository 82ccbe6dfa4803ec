//! One suite for every backend.
#[path = "../../tests/door/cluster.rs"]
#[allow(dead_code)] // other tests use the rest of it
mod cluster;

use super::{
    Change, Changes, Expect, Record, Store, StoreError,
    memory::MemoryStore,
    postgres::{Database, PostgresStore},
    sqlite::SqliteStore,
};
use crate::{clock::Timestamp, metrics::Metrics, secret::reference::Reference};
use std::{sync::Arc, time::Duration};

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

#[tokio::test]
async fn a_file_of_before_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let kept = Record { index: Some("user/alice".to_owned()), ..record("kept", Some(1_900)) };
    let older = rusqlite::Connection::open(&path).unwrap();
    let table = "CREATE TABLE record (key TEXT PRIMARY KEY, version INTEGER NOT NULL, idx TEXT, expires INTEGER, \
        body BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID; CREATE INDEX record_idx ON record (idx) WHERE idx IS NOT NULL;";
    older.execute_batch(table).unwrap();
    let values = rusqlite::params![kept.key, 3, kept.index, 1_900, kept.body, super::seal(&kept, 3)];
    older.execute("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values).unwrap();
    drop(older);
    for _ in 0..2 {
        let store = SqliteStore::open(&path, None).unwrap();
        let found = store.find("user/alice", NOW).await.unwrap();
        assert_eq!(found, [Record { version: 3, ..kept.clone() }]);
    }
}

fn database(address: String) -> Database {
    let timeout = Duration::from_secs(5);
    Database { address, password: None, authorities: None, identity: None, connections: 6, timeout }
}

#[tokio::test]
async fn postgres_over_its_socket_and_two_nodes_on_one_database() {
    let (cluster, metrics) = (cluster::cluster(), Metrics::new());
    let name = cluster.database();
    let address = database(cluster.address(&name));
    // Whoever starts first migrates, whoever comes at the same time waits.
    let nodes: Vec<_> = (0..4)
        .map(|_| {
            let (address, metrics) = (address.clone(), metrics.clone());
            std::thread::spawn(move || PostgresStore::open(&address, Some(metrics)))
        })
        .collect();
    let mut nodes = nodes.into_iter().map(|n| Arc::new(n.join().unwrap().unwrap()));
    let (first, second) = (nodes.next().unwrap(), nodes.next().unwrap());
    suite(first.clone()).await;
    assert!(second.get("race", NOW).await.unwrap().is_some());
    // Two nodes, one key, sixty-four at a time: each round is won once.
    for round in 0..20 {
        let racers: Vec<_> = (0..64)
            .map(|n| {
                let store = [&first, &second][n % 2].clone();
                let mut changes = put("code/x", None, if round == 0 { Expect::Absent } else { Expect::Version(round) });
                changes.0.extend(put(&format!("revoked/{round}/{n}"), None, Expect::Any).0);
                tokio::spawn(async move { store.commit(changes, NOW).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(()) => won += 1,
                Err(StoreError::Conflict(key)) => assert_eq!(key, "code/x"),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
    }
    let feed = second.feed(0, 1000).await.unwrap();
    assert!(feed.iter().zip(1..).all(|(entry, n)| entry.sequence == n), "no number is missing");
    assert_eq!(feed.len(), 23, "what lost the race is not announced");
    assert!(metrics.encode().contains("portcullis_store_connections{role=\"read\"}"));
    cluster.query(&name, "UPDATE portcullis_record SET body = '\\x00' WHERE key = 'race'");
    assert!(matches!(first.get("race", NOW).await, Err(StoreError::Corrupt(_))), "F9");
    cluster.query(&name, "UPDATE portcullis_schema SET readable_by = 99");
    let refused = PostgresStore::open(&address, None).err().unwrap().to_string();
    assert!(refused.contains("too old"), "{refused}");
}

#[tokio::test]
async fn a_commit_that_another_node_announces_is_seen_by_no_reader_out_of_its_turn() {
    let cluster = cluster::cluster();
    let address = database(cluster.address(&cluster.database()));
    let open = || Arc::new(PostgresStore::open(&address, None).unwrap());
    let (writers, reader) = ([open(), open()], open());
    let writing: Vec<_> = (0..200)
        .map(|n| {
            let store = writers[n % 2].clone();
            tokio::spawn(async move { store.commit(put(&format!("revoked/{n}"), None, Expect::Any), NOW).await })
        })
        .collect();
    let mut followed = 0;
    while followed < 200 {
        for entry in reader.feed(followed, 50).await.unwrap() {
            assert_eq!(entry.sequence, followed + 1, "a number that was passed over would never be seen");
            assert!(reader.get(&entry.key, NOW).await.unwrap().is_some());
            followed = entry.sequence;
        }
    }
    for written in writing {
        written.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_at_its_end_is_tried_again() {
    let cluster = cluster::cluster();
    let name = cluster.database();
    let store = PostgresStore::open(&database(cluster.address(&name)), None).unwrap();
    cluster.query(
        &name,
        "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN \
         IF nextval('tries') < 3 THEN RAISE EXCEPTION 'later' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$ \
         LANGUAGE plpgsql; CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON portcullis_record \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    store.commit(put("a/1", None, Expect::Absent), NOW).await.unwrap();
    assert_eq!(cluster.query(&name, "SELECT last_value FROM tries"), "3");
    assert_eq!(store.get("a/1", NOW).await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn postgres_over_verified_tls_with_a_password_from_a_file() {
    let cluster = cluster::cluster();
    let name = cluster.database();
    let mut tls = database(format!("postgresql://portcullis@localhost:{}/{name}", cluster.port));
    tls.password = Some(Reference::File(cluster.password_file()));
    tls.authorities = Some(cluster.authority.clone());
    assert_eq!(tls.mistakes(), []);
    let store = PostgresStore::open(&tls, None).unwrap();
    store.commit(put("a/1", None, Expect::Absent), NOW).await.unwrap();
    let spoken = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE datname = current_database() AND application_name = 'portcullis' AND NOT ssl";
    assert_eq!(cluster.query(&name, spoken), "0");
    // Another authority, another password: refused, in words.
    let dir = tempfile::tempdir().unwrap();
    let stranger = dir.path().join("ca.pem");
    std::fs::write(&stranger, rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem()).unwrap();
    let mut forged = tls.clone();
    forged.authorities = Some(stranger);
    forged.timeout = Duration::from_millis(300);
    let password = dir.path().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let mut guessed = tls.clone();
    guessed.password = Some(Reference::File(password));
    for (wrong, word) in [(forged, "certificate"), (guessed, "password")] {
        let why = PostgresStore::open(&wrong, None).err().unwrap().to_string();
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn a_damaged_file_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    std::fs::write(&path, vec![0x5a; 8192]).unwrap();
    assert!(matches!(SqliteStore::open(&path, None), Err(StoreError::Corrupt(_))));
}
