//! Sign-on sessions in the store: begun with a new identifier, seen, ended (S55, S57).
use crate::{
    clock::Timestamp,
    model::{
        NameId, Session,
        session::{AtIdp, Level, Lifetime, Method},
    },
    secret::{self, Digest},
    store::{Change, Expect, Record, Store, StoreError},
};
use serde::{Deserialize, Serialize};

/// A session is written again when it is seen this many seconds after it last was.
const SEEN_EVERY: i64 = 60;

/// The key of the record of the session with this cookie.
pub fn key(cookie: &str) -> String {
    format!("session/{}", Digest::text(cookie))
}

fn record(key: String, session: &Session, lifetime: Lifetime) -> Record {
    Record {
        key,
        version: 0,
        index: Some(format!("user/{}", session.user)),
        expires: Some(session.expires(lifetime)),
        body: serde_json::to_vec(session).expect("a session is plain data"),
    }
}

/// Begins a session: the cookie's value, and the writes. Whoever proves anew who they are goes on with the `sid` that
/// apps know, under another cookie.
pub fn begin(
    user: &str,
    second_factor_due: bool,
    before: Option<&Session>,
    at_idp: Option<AtIdp>,
    lifetime: Lifetime,
    now: Timestamp,
) -> (String, Vec<Change>) {
    let cookie = secret::random_token();
    let session = Session {
        sid: before.map_or_else(secret::random_id, |s| s.sid.clone()),
        user: user.to_owned(),
        auth_time: at_idp.as_ref().map_or(now, |a| a.authenticated),
        level: at_idp.as_ref().map_or(Level::Standard, |a| a.level),
        amr: if at_idp.is_none() { vec![Method::Pwd] } else { Vec::new() },
        second_factor_due,
        created: now,
        seen: now,
        at_idp,
    };
    let found = session.at_idp.as_ref().map(|at| origin(at, user, &session.sid, now.plus(lifetime.absolute)));
    let begun = Change::Put(record(key(&cookie), &session, lifetime), Expect::Absent);
    (cookie, std::iter::once(begun).chain(found).collect())
}

/// Begins a session of somebody who proved who they are at `auth_time` in another browser: it lasts no longer than one
/// that began then, and `None` where that is over.
pub fn handed_over(
    user: &str,
    (auth_time, level): (Timestamp, Level),
    second_factor_due: bool,
    before: Option<&Session>,
    lifetime: Lifetime,
    now: Timestamp,
) -> Option<(String, Change)> {
    let session = Session {
        sid: before.map_or_else(secret::random_id, |s| s.sid.clone()),
        user: user.to_owned(),
        auth_time,
        level,
        amr: Vec::new(),
        second_factor_due,
        created: auth_time,
        seen: now,
        at_idp: None,
    };
    let cookie = secret::random_token();
    let begun = Change::Put(record(key(&cookie), &session, lifetime), Expect::Absent);
    (session.expires(lifetime) > now).then_some((cookie, begun))
}

/// A session that began at an IdP, live or run out since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its `sid`.
    pub sid: String,
    /// Whose it is.
    pub user: String,
    /// What the IdP calls it.
    pub index: Option<String>,
    /// What it calls them; of before this was written down, the record's key says it all.
    #[serde(default)]
    name: Option<NameId>,
}

/// The write by which an IdP's logout finds the session `sid` of `user` that began there.
fn origin(at: &AtIdp, user: &str, sid: &str, until: Timestamp) -> Change {
    let key = format!("{}{sid}", origins(&at.idp, &at.name.value));
    let (sid, user, index) = (sid.to_owned(), user.to_owned(), at.index.clone());
    let origin = Origin { sid, user, index, name: Some(at.name.clone()) };
    let body = serde_json::to_vec(&origin).expect("an origin is plain data");
    Change::Put(Record { key, version: 0, index: None, expires: Some(until), body }, Expect::Any)
}

/// `name` is a name's value; the whole of it in records of before values alone were looked up.
fn origins(idp: &str, name: impl Serialize) -> String {
    let name = serde_json::to_string(&(idp, name)).expect("a name is plain data");
    format!("saml_session/{}/", Digest::text(&name))
}

/// Whether both speak of one person: many an IdP says in a logout less of a name than in its assertions.
fn is_same(said: &NameId, asked: &NameId) -> bool {
    let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
    said.value == asked.value
        && agree(&said.format, &asked.format)
        && agree(&said.qualifier, &asked.qualifier)
        && agree(&said.sp_qualifier, &asked.sp_qualifier)
}

/// Every session that `idp` began for the person it calls `name`, as long as the longest would last.
pub async fn begun_at(store: &dyn Store, idp: &str, name: &NameId, now: Timestamp) -> Result<Vec<Origin>, StoreError> {
    let mut records = store.scan(&origins(idp, &name.value), now).await?;
    records.extend(store.scan(&origins(idp, name), now).await?);
    let read = |r: Record| {
        serde_json::from_slice::<Origin>(&r.body).map_err(|_| StoreError::Corrupt(format!("record {}", r.key)))
    };
    let mut all = records.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    all.retain(|origin| origin.name.as_ref().is_none_or(|said| is_same(said, name)));
    Ok(all)
}

/// The write that ends the session with this cookie, and nothing that lives by it.
pub fn end(cookie: &str) -> Change {
    Change::Delete(key(cookie), Expect::Any)
}

/// The same session after a second factor, under a new cookie (S55). `proven` tells when they proved by it who they are;
/// whoever has just been given the factor has proved nothing anew.
pub fn raise(old: &str, session: &Session, lifetime: Lifetime, proven: Option<Timestamp>) -> (String, Vec<Change>) {
    let cookie = secret::random_token();
    let mut amr = session.amr.clone();
    if !amr.contains(&Method::Otp) {
        amr.push(Method::Otp);
        // What an IdP asked for is not known: it may have been the same factor.
        amr.extend(amr.contains(&Method::Pwd).then_some(Method::Mfa));
    }
    let auth_time = proven.unwrap_or(session.auth_time);
    let raised = Session { amr, level: Level::HighAssurance, second_factor_due: false, auth_time, ..session.clone() };
    let put = Change::Put(record(key(&cookie), &raised, lifetime), Expect::Absent);
    (cookie, vec![Change::Delete(key(old), Expect::Any), put])
}

/// The writes by which every live session of `user`, whose second factor was taken away, counts as what it is without.
pub async fn lower(
    store: &dyn Store,
    user: &str,
    lifetime: Lifetime,
    now: Timestamp,
) -> Result<Vec<Change>, StoreError> {
    let mut changes = Vec::new();
    for stored in store.find(&format!("user/{user}"), now).await? {
        let Some(mut session) = read(&stored)? else { continue };
        let level = session.at_idp.as_ref().map_or(Level::Standard, |at| at.level);
        if session.level > level {
            session.level = level;
            session.amr.retain(|method| *method == Method::Pwd);
            changes.push(Change::Put(record(stored.key, &session, lifetime), Expect::Version(stored.version)));
        }
    }
    Ok(changes)
}

/// The session of a record, if it is one of a session.
fn read(stored: &Record) -> Result<Option<Session>, StoreError> {
    if !stored.key.starts_with("session/") {
        return Ok(None);
    }
    let session = serde_json::from_slice(&stored.body);
    session.map(Some).map_err(|_| StoreError::Corrupt(format!("record {}", stored.key)))
}

/// The live session with this cookie; it counts as seen now.
pub async fn find(
    store: &dyn Store,
    cookie: &str,
    lifetime: Lifetime,
    now: Timestamp,
) -> Result<Option<Session>, StoreError> {
    let key = key(cookie);
    let Some(stored) = store.get(&key, now).await? else { return Ok(None) };
    let mut session: Session =
        serde_json::from_slice(&stored.body).map_err(|_| StoreError::Corrupt(format!("record {key}")))?;
    // The policy may have become stricter since it was written.
    if session.expires(lifetime) <= now {
        return Ok(None);
    }
    if session.seen.plus(SEEN_EVERY) <= now {
        session.seen = now;
        let change = Change::Put(record(key, &session, lifetime), Expect::Version(stored.version));
        match store.commit(crate::store::Changes(vec![change]), now).await {
            // Somebody else saw it in the same moment, or ended it: the next request will tell.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Some(session))
}

fn participant(sid: &str, client: &str) -> String {
    format!("participant/{sid}/{client}")
}

/// The write that notes that `client` was told of the session `sid`, so that it can be told of its end.
pub fn took_part(sid: &str, client: &str, lifetime: Lifetime, now: Timestamp) -> Change {
    let record = Record {
        key: participant(sid, client),
        version: 0,
        index: Some(format!("sid/{sid}")),
        expires: Some(now.plus(lifetime.absolute)),
        body: client.as_bytes().to_vec(),
    };
    Change::Put(record, Expect::Any)
}

/// The clients that took part in the session `sid`.
pub async fn participants(store: &dyn Store, sid: &str, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let records = store.find(&format!("sid/{sid}"), now).await?;
    Ok(records.into_iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect())
}

/// The write that forgets that `client` took part.
pub fn forget(sid: &str, client: &str) -> Change {
    Change::Delete(participant(sid, client), Expect::Any)
}

/// Every live session of `user`, with its record's key.
pub async fn of_user(store: &dyn Store, user: &str, now: Timestamp) -> Result<Vec<(String, Session)>, StoreError> {
    let records = store.find(&format!("user/{user}"), now).await?;
    let own = records.into_iter().map(|r| Ok(read(&r)?.map(|session| (r.key, session))));
    own.filter_map(Result::transpose).collect()
}
