//! Following the change feed: in order, without a gap, and noticing when the database went back to an earlier time.
use super::{FeedEntry, Store, StoreError};

/// Entries that are read at once.
const BATCH: usize = 1000;

/// How far the feed was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The newest entry that was taken up; none, where there was none.
    newest: Option<FeedEntry>,
    /// [`Store::connections`] when it was read.
    connections: u64,
}

impl Place {
    /// The same feed, followed up to `newest`.
    pub fn at(self, newest: &FeedEntry) -> Self {
        Self { newest: Some(newest.clone()), ..self }
    }
}

/// Where the feed ends now. Read it before the records: what changes meanwhile is then read twice rather than never.
pub async fn end(store: &dyn Store) -> Result<Place, StoreError> {
    let connections = store.connections();
    let end = store.feed_end().await?;
    let newest = store.feed(end.saturating_sub(1), 1).await?.into_iter().next();
    Ok(Place { newest, connections })
}

/// What was announced after `place`, oldest first; `None` where everything is to be read anew. So it is when a purge was
/// quicker, and when the database may have gone back to an earlier time, by a failover or a restored backup: then it
/// gives numbers again to other keys, and whoever is ahead would never hear of them. The entry that was taken up last is
/// compared each time, and a new connection to the database is reason enough.
pub async fn after(store: &dyn Store, place: &Place) -> Result<Option<Vec<FeedEntry>>, StoreError> {
    if store.connections() != place.connections {
        return Ok(None);
    }
    let known = place.newest.as_ref().map_or(0, |newest| newest.sequence);
    let mut entries = store.feed(known.saturating_sub(1), BATCH).await?;
    if let Some(newest) = &place.newest {
        if entries.first() != Some(newest) {
            return Ok(None);
        }
        entries.remove(0);
    }
    let goes_on = entries.first().is_none_or(|first| first.sequence == known + 1);
    Ok(goes_on.then_some(entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        store::{Change, Changes, Expect, Record, memory::MemoryStore},
    };

    async fn with(keys: &[&str]) -> MemoryStore {
        let store = MemoryStore::default();
        for key in keys {
            let record = Record::passing((*key).to_owned(), Timestamp(9), &0);
            store.commit(Changes(vec![Change::Put(record, Expect::Any)]), Timestamp(1)).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn a_database_that_went_back_is_noticed_however_far_it_has_come_again() {
        let first = with(&["revoked/a", "revoked/b"]).await;
        let place = end(&first).await.unwrap();
        assert_eq!(after(&first, &place).await.unwrap(), Some(vec![]));
        let further = with(&["revoked/a", "revoked/b", "revoked/c"]).await;
        let news = after(&further, &place).await.unwrap().unwrap();
        assert_eq!(news.iter().map(|e| (e.sequence, &*e.key)).collect::<Vec<_>>(), [(3, "revoked/c")]);
        for keys in [&["revoked/a"][..], &["revoked/a", "revoked/x"], &["revoked/a", "revoked/x", "revoked/y"], &[]] {
            assert_eq!(after(&with(keys).await, &place).await.unwrap(), None, "{keys:?}");
        }
    }
}
