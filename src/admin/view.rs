//! What an administrator sees: apps, users, use, authorizations, approvals.
use super::{Failed, Office, block, block::Blocked, stored};
use crate::{
    clock::Timestamp,
    grant::{Consent, approval_key},
    login::directory::{self, Person},
    model::{Approval, AuthMethod, Authorization, Client},
    policy::in_force::Kind,
    store::{Record, StoreError},
    token::{
        tally::{self, Tallied},
        usage,
    },
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Records that one look at a long list reads at most: a page may be shorter than was asked, and there is more.
const LOOKED_AT: usize = 2000;

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// `after` of the next page; nothing follows without.
    pub next: Option<String>,
}

/// How an app was used, by one user or by all.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Use {
    /// When a token was first issued, seconds since the epoch.
    pub first_used: Option<Timestamp>,
    /// When a token was last issued, or one first shown at the gate.
    pub last_used: Option<Timestamp>,
    /// Tokens issued.
    pub uses: u64,
    /// Attempts denied, at the authorization server and at the gate.
    pub denied: u64,
    /// When one last was.
    pub last_denied: Option<Timestamp>,
}

impl From<Tallied> for Use {
    fn from(t: Tallied) -> Self {
        let Tallied { first_used, last_used, uses, denied, last_denied, users: _ } = t;
        Self { first_used, last_used, uses, denied, last_denied }
    }
}

/// A connected app.
#[derive(Debug, Serialize, JsonSchema)]
pub struct App {
    /// `client_id`.
    pub client_id: String,
    /// The name shown to people.
    pub name: String,
    /// `configuration` or `registered`.
    pub origin: String,
    /// Whether it is blocked, by its file or by an administrator.
    pub blocked: bool,
    /// The administrator's block, if there is one.
    pub block: Option<Blocked>,
    /// How it authenticates: `client_secret`, `private_key_jwt` or `none`.
    pub auth: String,
    /// Grant types it may use.
    pub grants: Vec<String>,
    /// The most it may be granted.
    pub scopes: Vec<String>,
    /// Profiles and permission sets whose users are approved; every user approves for themselves without.
    pub admin_approved: Option<Vec<String>>,
    /// The resource that its tokens open.
    pub audience: String,
    /// Users who were seen to use it.
    pub users: u64,
    /// How it was used.
    pub usage: Use,
}

/// A user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct User {
    /// Their name.
    pub username: String,
    /// Their full name, where it is known.
    pub name: Option<String>,
    /// `configuration`, or the `entityID` of the identity provider that brought them.
    pub origin: String,
    /// Whether they may act: neither switched off nor blocked.
    pub active: bool,
    /// The administrator's block, if there is one.
    pub block: Option<Blocked>,
    /// Profiles and permission sets.
    pub permissions: Vec<String>,
}

/// One user's use of one app.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// The app.
    pub client_id: String,
    /// The user; nobody where attempts showed none whom we know.
    pub username: Option<String>,
    /// How it was used.
    #[serde(flatten)]
    pub usage: Use,
    /// Authorizations that live.
    pub authorizations: usize,
    /// Whether the user approved the app.
    pub approved: bool,
}

/// An authorization that lives.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Active {
    /// Identifier.
    pub id: String,
    /// The app.
    pub client_id: String,
    /// The user.
    pub username: String,
    /// The most its tokens may carry.
    pub scopes: Vec<String>,
    /// When it began, seconds since the epoch.
    pub created: Timestamp,
    /// When something was last issued from it.
    pub renewed: Timestamp,
    /// When a token of it was first shown at a gate since the last one was; nothing where none was.
    pub last_used: Option<Timestamp>,
    /// Whether it has a refresh token; it ends with its access token without.
    pub renewable: bool,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

/// A recorded approval.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Approved {
    /// The app.
    pub client_id: String,
    /// The user.
    pub username: String,
    /// For these scopes; for all that the app may have without.
    pub scopes: Option<Vec<String>>,
    /// When, seconds since the epoch.
    pub given: Timestamp,
}

/// `limit` of `items` whose names come behind `after`.
fn cut<T>(mut items: Vec<(String, T)>, after: &str, limit: usize) -> Page<T> {
    items.retain(|(name, _)| name.as_str() > after);
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|(name, _)| name.clone());
    Page { items: items.into_iter().map(|(_, item)| item).collect(), next }
}

fn list(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

impl Office {
    /// Apps in the order of their identifiers.
    pub async fn apps(&self, after: &str, limit: usize) -> Result<Page<App>, Failed> {
        let all = self.policy.clients.values().map(|c| (c.id.to_string(), c)).collect();
        let page = cut(all, after, limit);
        let mut items = Vec::with_capacity(page.items.len());
        for client in page.items {
            items.push(self.shown(client).await?);
        }
        Ok(Page { items, next: page.next })
    }

    /// One app.
    pub async fn app(&self, client: &str) -> Result<App, Failed> {
        let client = self.must_know_app(client)?;
        self.shown(client).await
    }

    async fn shown(&self, client: &Client) -> Result<App, Failed> {
        let total = self.store.get(&tally::total(&client.id), self.now).await?;
        let total: Tallied = total.map(|r| tally::read(&r.body)).unwrap_or_default();
        Ok(App {
            client_id: client.id.to_string(),
            name: client.name.clone(),
            origin: if self.policy.registered.contains(&client.id) { "registered" } else { "configuration" }.to_owned(),
            blocked: client.blocked,
            block: block::of(Kind::Client, &client.id, &*self.store, self.now).await?,
            auth: match client.auth_method {
                AuthMethod::ClientSecret => "client_secret",
                AuthMethod::PrivateKeyJwt => "private_key_jwt",
                AuthMethod::TlsClientAuth => "tls_client_auth",
                AuthMethod::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
                AuthMethod::None => "none",
            }
            .to_owned(),
            grants: client.grants.iter().cloned().collect(),
            scopes: client.scopes.iter().map(str::to_owned).collect(),
            admin_approved: match &client.approval {
                Approval::Admin(allowed) => Some(allowed.iter().cloned().collect()),
                Approval::SelfAuthorized => None,
            },
            audience: client.audience.to_string(),
            users: total.users,
            usage: total.into(),
        })
    }

    /// Users in the order of their names: of the configuration, and whom identity providers brought.
    pub async fn users(&self, after: &str, limit: usize) -> Result<Page<User>, Failed> {
        let local = self.policy.users.keys().map(|name| (name.to_string(), None));
        let behind = directory::key(after);
        // One more than asked tells whether there is another page.
        let brought = self.store.page(&directory::key(""), &behind, limit + 1, self.now).await?;
        let mut all: BTreeMap<String, Option<Person>> = BTreeMap::new();
        for record in &brought {
            all.insert(record.key[directory::key("").len()..].to_owned(), Some(stored(record)?));
        }
        all.extend(local);
        let page = cut(all.into_iter().map(|(name, person)| (name.clone(), (name, person))).collect(), after, limit);
        let mut items = Vec::with_capacity(page.items.len());
        for (name, person) in page.items {
            items.push(self.person(&name, person).await?);
        }
        Ok(Page { items, next: page.next })
    }

    /// One user.
    pub async fn user(&self, name: &str) -> Result<User, Failed> {
        self.must_know_user(name).await?;
        let person = match self.policy.users.contains_key(name) {
            true => None,
            false => self.store.get(&directory::key(name), self.now).await?.map(|r| stored(&r)).transpose()?,
        };
        self.person(name, person).await
    }

    async fn person(&self, name: &str, person: Option<Person>) -> Result<User, Failed> {
        let local = self.policy.users.get(name);
        let profile = local.map(|u| &u.profile).or(person.as_ref().map(|p| &p.profile));
        let permissions = local.map(|u| &u.permissions).or(person.as_ref().map(|p| &p.permissions));
        Ok(User {
            username: name.to_owned(),
            name: profile.and_then(|p| p.name.clone()),
            origin: person.as_ref().map_or_else(|| "configuration".to_owned(), |p| p.idp.clone()),
            active: !self.policy.has_ended(name),
            block: block::of(Kind::User, name, &*self.store, self.now).await?,
            permissions: permissions.into_iter().flatten().cloned().collect(),
        })
    }

    /// Who used `client`, in the order of their names.
    pub async fn usage_of_app(&self, client: &str, after: &str, limit: usize) -> Result<Page<Usage>, Failed> {
        self.must_know_app(client)?;
        let prefix = tally::of_app(client);
        // Nobody has an empty name, and so is told first: only the very first page begins in front of it.
        let behind = if after.is_empty() { String::new() } else { format!("{prefix}{after}") };
        let mut records = self.store.page(&prefix, &behind, limit + 1, self.now).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|r| r.key[prefix.len()..].to_owned());
        Ok(Page { items: self.usages(records).await?, next })
    }

    /// Which apps `user` used.
    pub async fn usage_of_user(&self, user: &str, after: &str, limit: usize) -> Result<Page<Usage>, Failed> {
        self.must_know_user(user).await?;
        let records = self.store.find(&tally::of_user(user), self.now).await?;
        let named = records.into_iter().filter_map(|r| tally::pair(&r.key).map(|p| p.0.to_owned()).map(|c| (c, r)));
        let page = cut(named.collect(), after, limit);
        Ok(Page { items: self.usages(page.items).await?, next: page.next })
    }

    async fn usages(&self, records: Vec<Record>) -> Result<Vec<Usage>, Failed> {
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            let Some((client, user)) = tally::pair(&record.key) else { continue };
            let known: Tallied = tally::read(&record.body);
            let (mut authorizations, mut approved) = (0, false);
            if !user.is_empty() {
                let held = self.held_by(user).await?;
                authorizations = held.iter().filter(|(a, _)| a.client == client).count();
                approved = self.store.get(&approval_key(client, user), self.now).await?.is_some();
            }
            let username = (!user.is_empty()).then(|| user.to_owned());
            all.push(Usage { client_id: client.to_owned(), username, usage: known.into(), authorizations, approved });
        }
        Ok(all)
    }

    async fn held_by(&self, user: &str) -> Result<Vec<(Authorization, Option<Timestamp>)>, StoreError> {
        let records = self.store.find(&format!("user/{user}"), self.now).await?;
        let own = records.iter().filter(|r| r.key.starts_with("authorization/"));
        own.map(|r| Ok((stored(r)?, r.expires))).collect()
    }

    /// Authorizations that live: of a user, of an app, of both, or all.
    pub async fn authorizations(
        &self,
        (client, user): (Option<&str>, Option<&str>),
        after: &str,
        limit: usize,
    ) -> Result<Page<Active>, Failed> {
        let wanted = |a: &Authorization| client.is_none_or(|c| a.client == c);
        let page = match user {
            Some(user) => {
                let held = self.held_by(user).await?.into_iter().filter(|(a, _)| wanted(a));
                cut(held.map(|held| (held.0.id.clone(), held)).collect(), after, limit)
            }
            None => self.search(wanted, after, limit).await?,
        };
        let mut items = Vec::with_capacity(page.items.len());
        for (authorization, expires) in page.items {
            items.push(self.active(authorization, expires).await?);
        }
        Ok(Page { items, next: page.next })
    }

    async fn search(
        &self,
        wanted: impl Fn(&Authorization) -> bool,
        after: &str,
        limit: usize,
    ) -> Result<Page<(Authorization, Option<Timestamp>)>, Failed> {
        let behind = Authorization::key(after);
        let records = self.store.page(&Authorization::key(""), &behind, LOOKED_AT, self.now).await?;
        let (full, mut items) = (records.len() == LOOKED_AT, Vec::new());
        let mut last = String::new();
        for record in &records {
            if items.len() == limit {
                return Ok(Page { items, next: Some(last) });
            }
            let authorization: Authorization = stored(record)?;
            last.clone_from(&authorization.id);
            if wanted(&authorization) {
                items.push((authorization, record.expires));
            }
        }
        Ok(Page { items, next: full.then_some(last) })
    }

    /// One authorization.
    pub async fn authorization(&self, id: &str) -> Result<Active, Failed> {
        let record = self.store.get(&Authorization::key(id), self.now).await?;
        let record = record.ok_or_else(|| Failed::Unknown(format!("authorization {id}")))?;
        self.active(stored(&record)?, record.expires).await
    }

    async fn active(&self, a: Authorization, expires: Option<Timestamp>) -> Result<Active, Failed> {
        let used = self.store.get(&usage::key(&a.id), self.now).await?;
        let used = used.and_then(|r| serde_json::from_slice::<usage::Used>(&r.body).ok());
        Ok(Active {
            scopes: list(&a.scopes),
            renewable: a.refresh.is_some(),
            last_used: used.map(|u| u.at),
            id: a.id,
            client_id: a.client,
            username: a.subject,
            created: a.created,
            renewed: a.renewed,
            expires,
        })
    }

    /// Who approved `client`, in the order of their names.
    pub async fn approvals(&self, client: &str, after: &str, limit: usize) -> Result<Page<Approved>, Failed> {
        self.must_know_app(client)?;
        let prefix = approval_key(client, "");
        let mut records = self.store.page(&prefix, &format!("{prefix}{after}"), limit + 1, self.now).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let named = |r: &Record| r.key[prefix.len()..].to_owned();
        let next = records.last().filter(|_| more).map(named);
        let read = |r: &Record| {
            let consent: Consent = stored(r)?;
            let scopes = consent.scopes.map(|s| list(&s));
            Ok(Approved { client_id: client.to_owned(), username: named(r), scopes, given: consent.given })
        };
        Ok(Page { items: records.iter().map(read).collect::<Result<_, StoreError>>()?, next })
    }
}
