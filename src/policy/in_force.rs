//! The policy in force: the configuration, and laid over it what the administrator decided while it runs. Decisions are
//! records of the store; this node takes them up at once where it made them, and by the feed where another process did.
use super::{Policy, SharedPolicy};
use crate::{
    clock::Timestamp,
    model::{Client, User, registered::Registered},
    store::{
        Record, Store, StoreError,
        feed::{self, Place},
    },
};
use arc_swap::ArcSwap;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What the keys of blocked apps and users begin with; see [`crate::store::ANNOUNCED`].
const BLOCKED: &str = "blocked/";
/// What the keys of apps that registered themselves begin with.
const REGISTERED: &str = "registered/";

/// What can be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connected app.
    Client,
    /// A user, local or brought by an identity provider.
    User,
}

impl Kind {
    /// As keys and the audit stream say it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
        }
    }

    /// The key of the record that says that `name` is blocked.
    pub fn key(self, name: &str) -> String {
        format!("{BLOCKED}{}/{name}", self.word())
    }
}

/// What was decided, as far as this node has heard.
#[derive(Clone, Debug, Default)]
struct Decided {
    clients: BTreeSet<String>,
    users: BTreeSet<String>,
    registered: BTreeMap<String, Arc<Registered>>,
}

/// Apps that registered themselves as the configuration makes them: made once, not with every decision.
#[derive(Default)]
struct Made(HashMap<String, (Arc<Registered>, Option<Arc<Client>>)>);

impl Made {
    /// The app, where the configuration lets it be one.
    fn of(&mut self, app: &Arc<Registered>, configured: &Policy) -> Option<Arc<Client>> {
        match self.0.get(&app.client_id) {
            Some((known, client)) if Arc::ptr_eq(known, app) => client.clone(),
            _ => {
                let rules = configured.registration.as_deref()?;
                let client = (rules.make)(app, rules).ok().map(|client| Arc::new(configured.widened(client)));
                self.0.insert(app.client_id.clone(), (app.clone(), client.clone()));
                client
            }
        }
    }
}

impl Decided {
    /// Takes up that there is a record under `key`, or none any more; `false` if it is no business of ours.
    fn take_up(&mut self, key: &str, record: Option<&Record>) -> bool {
        let there = record.is_some();
        if let Some(id) = key.strip_prefix(REGISTERED) {
            // One that cannot be read is none: nobody gets in by it.
            match record.and_then(|r| serde_json::from_slice::<Registered>(&r.body).ok()) {
                Some(app) => drop(self.registered.insert(id.to_owned(), Arc::new(app))),
                None => drop(self.registered.remove(id)),
            }
            return true;
        }
        let Some((kind, name)) = key.strip_prefix(BLOCKED).and_then(|rest| rest.split_once('/')) else { return false };
        let names = match kind {
            "client" => &mut self.clients,
            "user" => &mut self.users,
            _ => return false,
        };
        if there {
            names.insert(name.to_owned())
        } else {
            names.remove(name)
        };
        true
    }

    fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.users.is_empty() && self.registered.is_empty()
    }

    fn over(&self, configured: &Arc<Policy>, made: &mut Made) -> Arc<Policy> {
        if self.is_empty() {
            return configured.clone();
        }
        let mut policy = Policy::clone(configured);
        let mut registered = HashSet::new();
        // An app of the configuration is never shadowed.
        for app in self.registered.values().filter(|app| !configured.clients.contains_key(app.client_id.as_str())) {
            if let Some(client) = made.of(app, configured) {
                registered.insert(client.id.clone());
                policy.clients.insert(client.id.clone(), client);
            }
        }
        policy.registered = Arc::new(registered);
        for id in &self.clients {
            if let Some(client) = policy.clients.get_mut(id.as_str()) {
                *client = Arc::new(Client { blocked: true, ..Client::clone(client) });
            }
        }
        for name in &self.users {
            if let Some(user) = policy.users.get_mut(name.as_str()) {
                *user = Arc::new(User { active: false, ..User::clone(user) });
            }
        }
        policy.barred = Arc::new(self.users.iter().map(|name| Arc::from(name.as_str())).collect::<HashSet<_>>());
        Arc::new(policy)
    }
}

struct State {
    configured: Arc<Policy>,
    decided: Decided,
    made: Made,
    /// How far the feed was taken up; nothing is known without.
    followed: Option<Place>,
}

/// Holds the snapshot that requests load, and makes it anew from its two parts when one changes.
pub struct InForce {
    state: Mutex<State>,
    /// One reading of the store at a time, so that an older one never replaces a newer one.
    turn: tokio::sync::Mutex<()>,
    policy: SharedPolicy,
}

impl InForce {
    /// The configuration alone; call [`Self::follow`] before anything is decided by it.
    pub fn of(configured: Policy) -> Self {
        let configured = Arc::new(configured);
        let policy = Arc::new(ArcSwap::new(configured.clone()));
        let state = State { configured, decided: Decided::default(), made: Made::default(), followed: None };
        Self { state: Mutex::new(state), turn: tokio::sync::Mutex::new(()), policy }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot in force.
    pub fn policy(&self) -> SharedPolicy {
        self.policy.clone()
    }

    /// The configuration, without what was decided since.
    pub fn configured(&self) -> Arc<Policy> {
        self.state().configured.clone()
    }

    /// Puts another configuration in force, under the same decisions.
    pub fn configure(&self, configured: Policy) {
        let mut state = self.state();
        state.configured = Arc::new(configured);
        state.made = Made::default();
        self.lay_over(&mut state);
    }

    /// Takes up what was decided under `keys`; when it returns, every later request sees it.
    pub async fn hear(&self, keys: &[String], store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.read(keys.iter().map(String::as_str), store, now).await
    }

    /// Takes up what other processes decided since the last call; the first call reads everything.
    pub async fn follow(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        loop {
            let Some(place) = self.state().followed.clone() else { return self.read_all(store, now).await };
            let Some(entries) = feed::after(store, &place).await? else { return self.read_all(store, now).await };
            let Some(last) = entries.last() else { return Ok(()) };
            self.read(entries.iter().map(|e| e.key.as_str()), store, now).await?;
            self.state().followed = Some(place.at(last));
        }
    }

    async fn read(
        &self,
        keys: impl Iterator<Item = &str>,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut decided = self.state().decided.clone();
        let mut changed = false;
        for key in keys.filter(|key| [BLOCKED, REGISTERED].iter().any(|kind| key.starts_with(kind))) {
            changed |= decided.take_up(key, store.get(key, now).await?.as_ref());
        }
        if changed {
            self.lay(decided);
        }
        Ok(())
    }

    async fn read_all(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        // Before the records: what changes meanwhile is read twice rather than never.
        let end = feed::end(store).await?;
        let mut decided = Decided::default();
        for kind in [BLOCKED, REGISTERED] {
            for record in store.scan(kind, now).await? {
                decided.take_up(&record.key, Some(&record));
            }
        }
        self.lay(decided);
        self.state().followed = Some(end);
        Ok(())
    }

    fn lay(&self, decided: Decided) {
        let mut state = self.state();
        state.decided = decided;
        self.lay_over(&mut state);
    }

    fn lay_over(&self, state: &mut State) {
        let State { configured, decided, made, .. } = state;
        self.policy.store(decided.over(configured, made));
        made.0.retain(|id, _| decided.registered.contains_key(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Changes, Expect, memory::MemoryStore};

    const NOW: Timestamp = Timestamp(10);

    fn user(name: &str) -> User {
        let (permissions, profile) = Default::default();
        User { username: name.into(), permissions, password: None, security_token: None, active: true, profile }
    }

    fn configured() -> Policy {
        let mut policy = Policy::default();
        policy.users.insert("alice".into(), Arc::new(user("alice")));
        policy
    }

    async fn put(store: &MemoryStore, key: &str) {
        let record = Record { key: key.to_owned(), version: 0, index: None, expires: None, body: Vec::new() };
        store.commit(Changes(vec![Change::Put(record, Expect::Any)]), NOW).await.unwrap();
    }

    #[tokio::test]
    async fn decisions_lie_over_the_configuration_and_outlive_its_reload() {
        let (store, all) = (MemoryStore::default(), InForce::of(configured()));
        put(&store, "blocked/user/alice").await;
        put(&store, "blocked/user/of-an-idp").await;
        all.follow(&store, NOW).await.unwrap();
        let ended = |name: &str| all.policy().load().has_ended(name);
        assert!(ended("alice") && ended("of-an-idp") && !ended("bob"));
        assert!(!all.policy().load().users["alice"].active && all.configured().users["alice"].active);
        all.configure(configured());
        assert!(ended("alice"), "a reload takes no decision back");
        let gone = Change::Delete(Kind::User.key("alice"), Expect::Any);
        store.commit(Changes(vec![gone]), NOW).await.unwrap();
        assert!(ended("alice"), "not heard of yet");
        all.follow(&store, NOW).await.unwrap();
        assert!(!ended("alice") && ended("of-an-idp"));
        put(&store, "blocked/user/alice").await;
        all.hear(&[Kind::User.key("alice")], &store, NOW).await.unwrap();
        assert!(ended("alice"), "who decides hears at once");
    }
}
