//! All live records as text, one JSON object a line: to move from one backend to another.
//!
//! The first line names the format, the last one counts and digests what stands between, so that half a file is refused.
use super::{Change, Changes, Expect, Record, Store, StoreError};
use crate::{clock::Timestamp, secret::Digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
};

/// Records that are read, or written, at once.
const PAGE: usize = 500;
const FORMAT: &str = "portcullis store 1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    format: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    records: usize,
    sha256: String,
}

/// Why records were not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// What stands in it.
    #[error("line {0}: {1}")]
    Line(usize, String),
}

/// Every live record passes `see`, in the order of the keys; each is checked against its digest.
pub async fn walk<E: From<StoreError>>(
    store: &dyn Store,
    now: Timestamp,
    mut see: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = String::new();
    loop {
        let page = store.page("", &after, PAGE, now).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.key.clone();
        page.into_iter().try_for_each(&mut see)?;
    }
}

/// How many live records there are of each kind, which is what stands before the first `/` of a key.
pub async fn kinds(store: &dyn Store, now: Timestamp) -> Result<BTreeMap<String, usize>, StoreError> {
    let mut kinds = BTreeMap::new();
    let count = |record: Record| {
        let kind = record.key.split('/').next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_insert(0) += 1;
        Ok(())
    };
    walk::<StoreError>(store, now, count).await?;
    Ok(kinds)
}

/// Writes all live records of `store`; how many.
pub async fn export(store: &dyn Store, to: &mut dyn Write, now: Timestamp) -> Result<usize, TransferError> {
    writeln!(to, "{}", json(&First { format: FORMAT.to_owned() }))?;
    let (mut records, mut digest) = (0, Digest::of(b""));
    walk::<TransferError>(store, now, |Record { key, index, expires, body, .. }| {
        let line = json(&Line { key, index, expires, body: B64.encode(body) });
        digest = chained(&digest, &line);
        records += 1;
        Ok(writeln!(to, "{line}")?)
    })
    .await?;
    writeln!(to, "{}", json(&Last { records, sha256: digest.hex() }))?;
    to.flush()?;
    Ok(records)
}

/// Writes the records of a file to `store`: how many were new. What is there already is left if it is the same, so that
/// an interrupted import may be begun again; if it is not, nothing is overwritten.
pub async fn import(store: &dyn Store, from: &mut dyn BufRead, now: Timestamp) -> Result<usize, TransferError> {
    let lines: Vec<String> = from.lines().collect::<Result<_, _>>()?;
    let wrong = |at: usize, why: &str| TransferError::Line(at + 1, why.to_owned());
    let first = lines.first().and_then(|line| serde_json::from_str::<First>(line).ok());
    if first.is_none_or(|first| first.format != FORMAT) {
        return Err(wrong(0, "not an export of this program"));
    }
    let between = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
    let digest = between.iter().fold(Digest::of(b""), |digest, line| chained(&digest, line));
    let last = lines.last().and_then(|line| serde_json::from_str::<Last>(line).ok());
    if last.is_none_or(|last| last.records != between.len() || last.sha256 != digest.hex()) {
        return Err(wrong(lines.len() - 1, "the file was cut off or changed"));
    }
    let mut records = Vec::with_capacity(between.len());
    for (at, line) in between.iter().enumerate() {
        let line: Line = serde_json::from_str(line).map_err(|e| wrong(at + 1, &e.to_string()))?;
        let body = B64.decode(line.body).map_err(|e| wrong(at + 1, &e.to_string()))?;
        records.push(Record { key: line.key, version: 0, index: line.index, expires: line.expires, body });
    }
    let mut new = 0;
    for some in records.chunks(PAGE) {
        let there = store.get_all(some.iter().map(|r| r.key.clone()).collect(), now).await?;
        let there: BTreeMap<&str, &Record> = there.iter().map(|r| (r.key.as_str(), r)).collect();
        let mut changes = Changes::default();
        for record in some.iter().filter(|r| r.expires.is_none_or(|at| at > now)) {
            match there.get(record.key.as_str()) {
                None => changes.0.push(Change::Put(record.clone(), Expect::Absent)),
                Some(known) if known.body == record.body && known.expires == record.expires => {}
                Some(_) => return Err(StoreError::Conflict(record.key.clone()).into()),
            }
        }
        new += changes.0.len();
        store.commit(changes, now).await?;
    }
    Ok(new)
}

fn chained(before: &Digest, line: &str) -> Digest {
    Digest::of(&[&before.0[..], line.as_bytes()].concat())
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("a line is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    const NOW: Timestamp = Timestamp(100);

    #[tokio::test]
    async fn everything_that_lives_moves_once_and_half_a_file_is_refused() {
        let (from, to) = (MemoryStore::default(), MemoryStore::default());
        let mut changes = Changes::default();
        for n in 0..1_200 {
            let expires = (n % 3 == 0).then_some(Timestamp(if n % 2 == 0 { 50 } else { 200 }));
            let index = (n % 5 == 0).then(|| format!("user/{n}"));
            let record =
                Record { key: format!("kind{}/{n}", n % 2), version: 0, index, expires, body: vec![n as u8; 9] };
            changes.0.push(Change::Put(record, Expect::Absent));
        }
        from.commit(changes, Timestamp(10)).await.unwrap();
        let mut file = Vec::new();
        let count = export(&from, &mut file, NOW).await.unwrap();
        assert_eq!(count, 1_000, "what has expired stays behind");
        assert_eq!(import(&to, &mut &file[..], NOW).await.unwrap(), 1_000);
        assert_eq!(import(&to, &mut &file[..], NOW).await.unwrap(), 0, "begun again");
        assert_eq!(kinds(&to, NOW).await.unwrap(), kinds(&from, NOW).await.unwrap());
        let (there, here) = (to.find("user/5", NOW).await.unwrap(), from.find("user/5", NOW).await.unwrap());
        assert_eq!(there, here);
        let half = &file[..file.len() / 2];
        assert!(import(&to, &mut &*half, NOW).await.unwrap_err().to_string().contains("cut off"));
        assert!(import(&to, &mut &b""[..], NOW).await.is_err());
        let other = Record { key: "kind1/1".to_owned(), version: 0, index: None, expires: None, body: vec![0] };
        to.commit(Changes(vec![Change::Put(other, Expect::Any)]), NOW).await.unwrap();
        let refused = import(&to, &mut &file[..], NOW).await.unwrap_err();
        assert!(matches!(refused, TransferError::Store(StoreError::Conflict(_))), "{refused}");
    }
}
