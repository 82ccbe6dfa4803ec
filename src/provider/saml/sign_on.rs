//! Signing in at an identity provider: off to it, its Response, and back in the browser that began (SAML Profiles §4.1).
use super::{FINISH, refused, replayed, sp};
use crate::{
    clock::Timestamp,
    grant::{saml_bearer::used, stored},
    login::directory::{Known, Person},
    model::{Approval, Level, session::AtIdp},
    pages::Page,
    policy::saml::Partner,
    provider::{
        Cx,
        error::{Code, OAuthError},
        interaction::Interaction,
        params::Params,
        paths,
        people::{Authority, Stranger},
        sign_in,
        sign_out::SignOut,
        web::Visit,
    },
    saml::{
        Kind, binding,
        metadata::Binding,
        read,
        request::{SignOn, new_id},
        sp::{Asked, Expected, LONGEST, SKEW, judge},
    },
    secret::{self, Digest},
    store::{Change, Changes, Expect, Record},
};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

/// Seconds that a person may take at the IdP.
const LIFETIME: i64 = 1800;
/// Seconds between the Response and the browser's next request.
const SOON: i64 = 120;
const PURPOSE: &str = "saml";
/// Longest name of somebody new, bytes.
const LONGEST_NAME: usize = 200;

/// A request of ours on its way, stored under the digest of its RelayState, which is all that leaves us (S54).
#[derive(Serialize, Deserialize)]
struct Pending {
    request: String,
    idp: String,
    browser: Digest,
    begun: Timestamp,
    force: bool,
    interaction: Interaction,
}

/// A Response that was verified, sealed for the browser to bring along: the IdP's form comes from another site, and so
/// without our cookies.
#[derive(Serialize, Deserialize)]
struct Ticket {
    relay: Option<String>,
    user: String,
    at_idp: AtIdp,
    person: Option<Person>,
    assertion: String,
    remember: Timestamp,
    issued: Timestamp,
}

fn key(relay: &str) -> String {
    format!("saml_request/{}", Digest::text(relay))
}

/// `/oauth2/saml/start`: off to the IdP, by its preferred binding.
pub async fn start(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let interaction = Interaction::of(&mut visit)?;
    let params = Params::of_either(visit.request)?;
    let sp = sp(cx)?;
    let named = cx.policy.saml.named(params.get("idp").unwrap_or_default());
    let partner = named.filter(|p| p.idp.valid_at(cx.now)).ok_or_else(|| refused("no such IdP at present"))?;
    // Who asks for a fresh sign-in gets one from the IdP, not from its memory.
    let force = interaction.anew || interaction.request().is_some_and(|r| r.login || r.max_age.is_some());
    let high = interaction.level(cx) == Level::HighAssurance;
    let (id, relay) = (new_id(), secret::random_id());
    let pending = Pending {
        request: id.clone(),
        idp: partner.idp.entity.clone(),
        browser: Digest::of(visit.browser().as_bytes()),
        begun: cx.now,
        force,
        interaction,
    };
    let record = Record::passing(key(&relay), cx.now.plus(LIFETIME), &pending);
    cx.store.commit(Changes(vec![Change::Put(record, Expect::Absent)]), cx.now).await?;
    cx.audit.write(json!({"event": "saml", "outcome": "sent", "idp": partner.name, "request": id, "time": cx.now}));
    let contexts = if high { &*partner.high_assurance_contexts } else { &[] };
    let asked = SignOn { force, name_format: partner.name_format.as_deref(), contexts };
    if let Some(endpoint) = partner.idp.sign_on_by(Binding::Redirect) {
        let message = sp.sign_on(&id, &endpoint.location, asked, cx.now);
        let to = binding::to_query(&endpoint.location, "SAMLRequest", &message, Some(&relay), &sp.key);
        return Ok(visit.redirect(&to));
    }
    let endpoint = partner.idp.sign_on_by(Binding::Post).ok_or_else(|| refused("the IdP has no address"))?;
    let message = sp.signed(&sp.sign_on(&id, &endpoint.location, asked, cx.now), &id);
    let page =
        Page::form_post(&endpoint.location, &[("SAMLRequest", binding::to_field(&message)), ("RelayState", relay)]);
    Ok(visit.page(StatusCode::OK, page, &[&endpoint.location]))
}

/// `/oauth2/saml/acs`: a Response, from another site and so without cookies; every check that needs none.
pub async fn acs(visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let sp = sp(cx)?;
    let form = Params::of_form(visit.request)?;
    let bytes = binding::from_field(form.require("SAMLResponse", "SAMLResponse is missing")?).map_err(refused)?;
    let passed = read(&bytes, Kind::Response).map_err(refused)?;
    let partner = cx.policy.saml.usable(&passed.issuer, cx.now).map_err(refused)?;
    let pending = pending(form.get("RelayState"), partner, cx).await?;
    let told = |why: &dyn std::fmt::Display| refused(format_args!("{}, {}: {why}", partner.name, passed.id));
    let verified = passed.verify(&partner.idp.keys).map_err(|why| told(&why))?;
    let (audiences, recipients) = ([sp.entity.clone()], [sp.acs.clone()]);
    let expected = Expected {
        now: cx.now,
        issuer: &partner.idp.entity,
        audiences: &audiences,
        recipients: &recipients,
        asked: match &pending {
            Some((_, pending, _)) => Asked::For(&pending.request),
            None if partner.idp_initiated => Asked::Unasked,
            None => Asked::Never,
        },
        longest: LONGEST,
    };
    let accepted = judge(&verified, expected).map_err(|why| told(&why))?;
    let authenticated = accepted.authenticated.unwrap_or(cx.now).min(cx.now);
    let begun = pending.as_ref().filter(|(_, p, _)| p.force).map(|(_, p, _)| p.begun);
    if begun.is_some_and(|begun| authenticated < begun.plus(-SKEW)) {
        return Err(told(&"they were to sign in anew, and the IdP remembered them"));
    }
    let user = partner.username(&verified.assertion).map_err(|why| told(&why))?;
    let ticket = Ticket {
        relay: pending.map(|(relay, ..)| relay),
        user: user.to_owned(),
        at_idp: AtIdp {
            idp: partner.idp.entity.clone(),
            name: accepted.name_id,
            index: accepted.session_index,
            ends: accepted.session_ends,
            // The clocks of two machines: who signed in anew did so since it was asked.
            authenticated: begun.map_or(authenticated, |begun| authenticated.max(begun)),
            level: partner.level(&verified.assertion),
        },
        person: partner.create_users.then(|| Person {
            idp: partner.idp.entity.clone(),
            permissions: partner.permitted(&verified.assertion),
            profile: partner.profile(&verified.assertion),
        }),
        assertion: verified.assertion.id,
        remember: accepted.remember,
        issued: cx.now,
    };
    let to = format!("{FINISH}?t={}", cx.tokens.seal(PURPOSE, &ticket));
    Ok(visit.redirect(&to))
}

type Found = (String, Pending, Record);

/// The request that a RelayState of ours stands for, if it went to this very IdP.
async fn pending(relay: Option<&str>, partner: &Arc<Partner>, cx: &Cx) -> Result<Option<Found>, OAuthError> {
    let Some(relay) = relay else { return Ok(None) };
    let Some(record) = cx.store.get(&key(relay), cx.now).await? else { return Ok(None) };
    let pending: Pending = stored(&record)?;
    if pending.idp != partner.idp.entity {
        return Err(refused(format_args!("a Response of {} to a request to {}", partner.name, pending.idp)));
    }
    Ok(Some((relay.to_owned(), pending, record)))
}

/// `/oauth2/saml/finish`: the browser brings the ticket along, now with its cookies.
pub async fn finish(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let expired = |why: &str| OAuthError::new(Code::InvalidRequest, "the sign-in has expired").detail(why);
    let query = visit.request.uri().query().unwrap_or_default();
    let sealed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "t").map(|(_, v)| v);
    let ticket: Option<Ticket> = sealed.and_then(|s| cx.tokens.unseal_value(PURPOSE, &s, cx.now));
    let ticket = ticket.filter(|t| cx.now < t.issued.plus(SOON)).ok_or_else(|| expired("no ticket, or an old one"))?;
    let partner = cx.policy.saml.partners.get(&ticket.at_idp.idp).ok_or_else(|| refused("its IdP is gone"))?;
    let mut changes = vec![used(&ticket.at_idp.idp, &ticket.assertion, ticket.remember)];
    let found = pending(ticket.relay.as_deref(), partner, cx).await?;
    if let Some((_, pending, record)) = &found {
        if pending.browser != Digest::of(visit.browser().as_bytes()) {
            return Err(expired("begun in another browser"));
        }
        changes.push(Change::Delete(record.key.clone(), Expect::Version(record.version)));
    } else if ticket.relay.is_some() {
        return Err(expired("answered already"));
    }
    let entering = comes_in(&ticket, partner, cx).await?;
    let outcome = if entering.is_ok() { "signed_in" } else { "unknown_user" };
    let by = entering.as_ref().ok().map(|(authority, _)| authority.setting());
    cx.audit.write(json!({"event": "saml", "outcome": outcome, "idp": partner.name, "username": ticket.user, "by": by,
        "assertion": ticket.assertion, "address": cx.address, "time": cx.now}));
    let failure = |why| OAuthError::new(Code::InvalidGrant, "authentication failure").detail(why);
    let (_, write) = entering.map_err(failure)?;
    let lost = write.as_ref().map_or_else(Vec::new, |write| lost(write.before.as_deref(), &ticket, cx));
    let mut end = SignOut::default();
    for client in &lost {
        end.access(&ticket.user, client, cx).await?;
    }
    changes.extend(write.map(|write| write.change));
    let due = sign_in::enter(&mut visit, &ticket.user, Some(ticket.at_idp), changes, end).await.map_err(replayed)?;
    for client in lost {
        cx.audit.write(json!({"event": "revoke", "outcome": "revoked", "client": client, "subject": ticket.user,
            "by": "groups", "idp": partner.name, "time": cx.now}));
    }
    cx.login.directory.forget(&ticket.user);
    cx.metrics.logins.with_label_values(&["saml"]).inc();
    let to = match found {
        Some((_, pending, _)) => sign_in::next(&pending.interaction, due, cx),
        None => paths::ACCOUNT.to_owned(),
    };
    Ok(visit.redirect(&to))
}

/// The write by which somebody new becomes a user, or by which what is known of them is renewed.
struct Write {
    before: Option<Arc<Known>>,
    change: Change,
}

/// The apps that the person's groups let them use at the last sign-on, and do no more: what those hold for them ends.
fn lost(before: Option<&Known>, ticket: &Ticket, cx: &Cx) -> Vec<Arc<str>> {
    let (Some(before), Some(now)) = (before, &ticket.person) else { return Vec::new() };
    let (before, now) = (&before.person.permissions, &now.permissions);
    let gone = |allowed: &BTreeSet<String>| !before.is_disjoint(allowed) && now.is_disjoint(allowed);
    let apps = cx.policy.clients.values();
    let lost = apps.filter(|app| before != now && matches!(&app.approval, Approval::Admin(allowed) if gone(allowed)));
    lost.map(|app| app.id.clone()).collect()
}

/// Why `partner` may sign in whom the ticket names, with what is to be written of them; or why it may not.
async fn comes_in(
    ticket: &Ticket,
    partner: &Partner,
    cx: &Cx,
) -> Result<Result<(Authority, Option<Write>), Stranger>, OAuthError> {
    let sound = !ticket.user.is_empty()
        && ticket.user.len() <= LONGEST_NAME
        && ticket.user.bytes().all(|b| b.is_ascii_graphic());
    // Another node may have renewed them a moment ago.
    cx.login.directory.forget(&ticket.user);
    let spoken_for = cx.spoken_for_by(partner, &ticket.user).await?;
    let before = cx.login.directory.recent(&ticket.user);
    let write = |person: &Person, new| {
        let dated = person.clone().since(before.as_deref(), cx.now);
        Write { change: cx.login.directory.write(&ticket.user, &dated, new), before: before.clone() }
    };
    Ok(match (spoken_for, &ticket.person) {
        (Ok(Authority::ExistingUsers), _) => Ok((Authority::ExistingUsers, None)),
        (Ok(Authority::Brought), person) => Ok((Authority::Brought, person.as_ref().map(|p| write(p, false)))),
        (Err(Stranger::Unknown(_)), Some(person)) if sound && partner.create_users => {
            Ok((Authority::Brought, Some(write(person, true))))
        }
        (Err(why), _) => Err(why),
    })
}
