//! Hearing of what other nodes ended: in order, without a gap, and knowing how long ago that was.
use super::{
    Tokens, keys,
    revocation::{Ending, Revocations},
};
use crate::{
    clock::{self, Timestamp},
    metrics::Metrics,
    store::{
        Record, StoreError,
        feed::{self, Place},
    },
};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How far the feed has been followed, and until when that may be relied on.
#[derive(Default)]
pub struct Following {
    /// How far everything was taken up.
    place: Mutex<Place>,
    /// On the clock of [`clock::elapsed`]: when it was last whole, and until when it may be relied on. 0 is never.
    whole: AtomicU64,
    until: AtomicU64,
    /// `until` is so much later than `whole`, milliseconds; for ever without.
    limit: Option<u64>,
    /// What the others have yet to be told: see [`Tokens::take_up`].
    untold: Mutex<Vec<Ending>>,
}

impl Following {
    fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// What is known may be relied on for this long.
    pub fn limited(&mut self, limit: Option<Duration>) {
        self.limit = limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    }

    /// Whether what is known may be relied on now.
    pub fn holds(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            0 => false,
            u64::MAX => true,
            until => clock::elapsed() < until,
        }
    }

    /// Everything was known that had been announced before `begun`.
    fn whole_at(&self, begun: u64) {
        // Never 0, which is never.
        self.whole.store(begun.max(1), Ordering::Release);
        let until = self.limit.map_or(u64::MAX, |limit| begun.saturating_add(limit).max(1));
        self.until.store(until, Ordering::Release);
    }

    /// How long ago everything was known, milliseconds; `None` if it never was.
    pub fn age(&self) -> Option<u64> {
        match self.whole.load(Ordering::Acquire) {
            0 => None,
            whole => Some(clock::elapsed().saturating_sub(whole)),
        }
    }
}

impl Tokens {
    /// What is known of revocations is acted upon for so long without hearing of the store, and then nothing opens.
    #[must_use]
    pub fn stale_after(mut self, limit: Option<Duration>) -> Self {
        self.following.limited(limit);
        self
    }

    /// Reads what was revoked before this process started.
    pub async fn load_revocations(&self, now: Timestamp) -> Result<(), StoreError> {
        let begun = clock::elapsed();
        self.take_up_keys(now).await.map_err(StoreError::Unavailable)?;
        // Before the records: what changes meanwhile is read twice rather than never.
        let end = feed::end(&*self.store).await?;
        // Whatever this node's clock says of them: it may be the one that is wrong.
        self.take_up(&self.store.scan(Revocations::prefix(), Timestamp::FIRST).await?, now)?;
        self.tell(now).await?;
        self.following.put(end);
        self.following.whole_at(begun);
        Ok(())
    }

    /// Takes up what other processes ended since the last call; the first call reads everything.
    pub async fn follow(&self, now: Timestamp) -> Result<(), StoreError> {
        let following = &self.following;
        if following.age().is_none() {
            return self.load_revocations(now).await;
        }
        loop {
            let begun = clock::elapsed();
            let place = following.place();
            let Some(entries) = feed::after(&*self.store, &place).await? else {
                return self.load_revocations(now).await;
            };
            let Some(last) = entries.last() else {
                self.tell(now).await?;
                following.whole_at(begun);
                return Ok(());
            };
            if entries.iter().any(|e| e.key == keys::KEY) {
                // Until they are known, nothing more is taken up, and the gate fails closed in the end.
                self.take_up_keys(now).await.map_err(StoreError::Unavailable)?;
            }
            let keys = entries.iter().map(|e| &e.key).filter(|k| k.starts_with(Revocations::prefix()));
            // Whatever this node's clock says of them: it may be the one that is wrong.
            self.take_up(&self.store.get_all(keys.cloned().collect(), Timestamp::FIRST).await?, now)?;
            following.put(place.at(last));
        }
    }

    /// Takes up what others have ended. What was made here before it was heard is ended too, whatever time this node's
    /// clock has stamped on it: such an ending reaches further than the others know.
    fn take_up(&self, records: &[Record], now: Timestamp) -> Result<(), StoreError> {
        let mut news = Vec::new();
        for record in records {
            let restored = self.revocations.restore(record);
            let (ending, new) = restored.ok_or_else(|| StoreError::Corrupt(format!("record {}", record.key)))?;
            // One whose time is over was forgotten, and is none.
            news.extend((new && record.expires.is_none_or(|at| at > now)).then_some(ending));
        }
        // After all of them are felt: whoever begins from now on knows them.
        let stamped = self.stamped();
        let further: Vec<Ending> = news.iter().filter_map(|ending| ending.over(stamped)).collect();
        self.feel(&further);
        self.following.untold.lock().unwrap_or_else(PoisonError::into_inner).extend(further);
        Ok(())
    }

    /// Tells the others how far endings reach; until that is done, nothing is known for certain.
    async fn tell(&self, now: Timestamp) -> Result<(), StoreError> {
        let untold = || self.following.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let all = untold().clone();
        if !all.is_empty() {
            Ending::widen(&all, &*self.store, now).await?;
            untold().retain(|ending| !all.contains(ending));
        }
        Ok(())
    }

    /// Whether what was revoked is known, so that anything can be decided.
    pub fn ready(&self) -> bool {
        self.following.holds()
    }

    /// How long ago everything was known that other nodes had announced, milliseconds; `None` if it never was.
    pub fn behind(&self) -> Option<u64> {
        self.following.age()
    }

    /// Sets the gauges of the cache and of the feed.
    pub fn measure(&self, metrics: &Metrics) {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let set = |unit: &str, n: u64| metrics.cache_size.with_label_values(&[unit]).set(signed(n));
        set("bytes", self.good.weighted_size());
        set("entries", self.good.entry_count());
        metrics.feed_age.set(self.behind().map_or(-1, signed));
        metrics.ready.set(i64::from(self.ready()));
    }
}
