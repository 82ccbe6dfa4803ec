//! Apps that register themselves: what lets one do so, and taking one away.
use super::{Failed, Office, act::Act, stored};
use crate::{
    clock::Timestamp,
    grant::approval_key,
    model::registered::{InitialToken, Registered},
    policy::in_force::Kind,
    secret::{self, Digest},
    store::{Change, Expect, Record},
    token::revocation::Ending,
};
use schemars::JsonSchema;
use serde::Serialize;

/// Registrations that one token lets through at most.
const MOST_USES: u32 = 10_000;
/// Seconds that a token lives at most.
const LONGEST: i64 = 366 * 24 * 3600;
/// Tokens listed at most.
const LISTED: usize = 10_000;

/// An initial access token, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Initial {
    /// Identifier.
    pub id: String,
    /// Registrations left.
    pub left: u32,
    /// When it expires, seconds since the epoch.
    pub expires: Option<Timestamp>,
    /// Who made it.
    pub by: String,
    /// When.
    pub created: Timestamp,
    /// For what.
    pub note: Option<String>,
}

/// An initial access token as it is told this once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NewInitial {
    /// Identifier.
    pub id: String,
    /// The bearer token for `POST /oauth2/register`; only its digest is kept.
    pub token: String,
    /// When it expires, seconds since the epoch.
    pub expires: Timestamp,
}

impl Office {
    /// Makes an initial access token, good for `uses` registrations within `lifetime` seconds.
    pub async fn new_initial_token(&self, uses: u32, lifetime: i64, note: Option<&str>) -> Result<NewInitial, Failed> {
        if self.policy.registration.is_none() {
            return Err(Failed::Refused("no app can register: the configuration has no [registration]".to_owned()));
        }
        if !(1..=MOST_USES).contains(&uses) || !(1..=LONGEST).contains(&lifetime) {
            let why = format!("between 1 and {MOST_USES} uses, within 1 second and 366 days");
            return Err(Failed::Refused(why));
        }
        if note.is_some_and(|n| n.chars().count() > 200 || n.chars().any(char::is_control)) {
            return Err(Failed::Refused("a note is one line of at most 200 characters".to_owned()));
        }
        let (id, secret) = (secret::random_name(), secret::random_token());
        let (by, note) = (self.by.clone(), note.map(str::to_owned));
        let digest = Digest::of(secret.as_bytes());
        let token = InitialToken { id: id.clone(), secret: digest, left: uses, by, created: self.now, note };
        let expires = self.now.plus(lifetime);
        let record = Record::passing(InitialToken::key(&id), expires, &token);
        let act = Act { act: "new_initial_token".to_owned(), ..Act::default() }.detail(format!("{id}, {uses} uses"));
        self.enact(act, vec![Change::Put(record, Expect::Absent)], Vec::new()).await?;
        Ok(NewInitial { token: InitialToken::text(&id, &secret), id, expires })
    }

    /// Initial access tokens that are good for something.
    pub async fn initial_tokens(&self) -> Result<Vec<Initial>, Failed> {
        let records = self.store.page(&InitialToken::key(""), "", LISTED, self.now).await?;
        let read = |r: &Record| {
            let InitialToken { id, left, by, created, note, secret: _ } = stored(r)?;
            Ok(Initial { id, left, expires: r.expires, by, created, note })
        };
        records.iter().map(read).collect()
    }

    /// Takes an initial access token back; apps that it let in stay.
    pub async fn withdraw_initial_token(&self, id: &str) -> Result<(), Failed> {
        let key = InitialToken::key(id);
        if self.store.get(&key, self.now).await?.is_none() {
            return Err(Failed::Unknown(format!("initial access token {id}")));
        }
        let act = Act { act: "withdraw_initial_token".to_owned(), ..Act::default() }.detail(id);
        self.enact(act, vec![Change::Delete(key, Expect::Any)], Vec::new()).await
    }

    /// Removes an app that registered itself, and all that users gave it; returns how many authorizations that were.
    pub async fn remove_app(&self, client: &str) -> Result<usize, Failed> {
        let key = Registered::key(client);
        let Some(record) = self.store.get(&key, self.now).await? else {
            self.must_know_app(client)?;
            return Err(Failed::Refused(format!("{client} is an app of the configuration: remove its file")));
        };
        let changes = vec![
            Change::Delete(key, Expect::Version(record.version)),
            Change::Delete(Kind::Client.key(client), Expect::Any),
        ];
        let ending = Ending::of(format!("client/{client}"), self.now.plus(crate::grant::LONGEST_TOKEN));
        self.enact(Act::on_app("remove_app", client), changes, vec![ending]).await?;
        let prefix = approval_key(client, "");
        loop {
            let page = self.store.page(&prefix, "", 200, self.now).await?;
            if page.is_empty() {
                break;
            }
            self.commit(page.into_iter().map(|r| Change::Delete(r.key, Expect::Any)).collect(), Vec::new()).await?;
        }
        self.end_all_of(client).await
    }
}
