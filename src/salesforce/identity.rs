//! What is told of a person: `userinfo` and the identity URL.
use super::request;
use crate::{
    clock::Timestamp,
    model::{Policies, ScopeSet, User},
    policy::salesforce::Salesforce,
    provider::{
        Cx,
        error::{Code, OAuthError},
        possession::Shown,
        userinfo::{Holder, holder},
    },
    saml::instant,
};
use bytes::Bytes;
use http::{Request, header::AUTHORIZATION};
use serde_json::{Value, json};

/// Scopes of which one lets a program ask who it acts for.
const OPENS: [&str; 9] = ["id", "openid", "profile", "email", "address", "phone", "api", "web", "full"];

/// Why nothing is told: status and text.
pub type Refused = (u16, &'static str);
const BAD_TOKEN: Refused = (403, "Bad_OAuth_Token");

/// `…/userinfo`.
pub async fn userinfo(request: &Request<Bytes>, settings: &Salesforce, cx: &Cx) -> Result<Value, Refused> {
    let (holder, scopes) = bearer(request, From::Address, cx).await?;
    Ok(Told::of(&holder, &scopes, settings, cx).userinfo())
}

/// `/id/{organization}/{user}`: a person's own, for a program that acts for them.
pub async fn identity(request: &Request<Bytes>, settings: &Salesforce, cx: &Cx) -> Result<Value, Refused> {
    let (holder, scopes) = bearer(request, From::Address, cx).await?;
    let mut asked = request.uri().path().rsplit('/');
    let is = |asked: Option<&str>, id: &str| asked.is_some_and(|a| a == id || a == &id[..id.len() - 3]);
    if !is(asked.next(), &settings.user_id(&holder.user.username)) {
        return Err((403, "No_Access"));
    }
    if !is(asked.next(), &settings.organization_id()) {
        return Err((403, "Wrong_Org"));
    }
    Ok(Told::of(&holder, &scopes, settings, cx).identity())
}

/// Where a token may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The header or the form.
    Request,
    /// Also the address, where the app's policy allows it.
    Address,
}

/// Whose token it is. One that stands in the address beside the same one in the header is of no matter, and beside
/// another one it is refused.
pub async fn bearer(request: &Request<Bytes>, from: From, cx: &Cx) -> Result<(Holder, ScopeSet), Refused> {
    let named = |all: Vec<(String, String)>| {
        let tokens = all.into_iter().filter(|(name, _)| name == "oauth_token" || name == "access_token");
        tokens.map(|(_, token)| token).collect::<Vec<_>>()
    };
    let mut shown = named(request::body(request).await.map_err(|_| BAD_TOKEN)?);
    let mut bound = false;
    for value in request.headers().get_all(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(BAD_TOKEN)?;
        bound |= scheme.eq_ignore_ascii_case("dpop");
        if !bound && !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("oauth") {
            return Err(BAD_TOKEN);
        }
        shown.push(token.trim().to_owned());
    }
    let query = request.uri().query().unwrap_or_default();
    let in_query = named(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
    let by_query = shown.is_empty();
    let token = shown.first().or(in_query.first()).ok_or((403, "Missing_OAuth_Token"))?;
    if !shown.iter().chain(&in_query).all(|other| other == token) {
        return Err(BAD_TOKEN);
    }
    let possession = Shown { token, bound, request, path: request.uri().path() };
    let holder = holder(&possession, cx).await.map_err(|error: OAuthError| match error.code {
        Code::TemporarilyUnavailable => (503, "Service_Unavailable"),
        _ => BAD_TOKEN,
    })?;
    if by_query && (from == From::Request || !holder.client.salesforce.query_tokens) {
        return Err(BAD_TOKEN);
    }
    // A scope taken from the app is gone from its older tokens too.
    let scopes = holder.opened.entitlement.scopes.intersection(&holder.client.scopes);
    if !OPENS.iter().any(|scope| scopes.contains(scope)) {
        return Err(BAD_TOKEN);
    }
    Ok((holder, scopes))
}

/// Seconds that clocks in `zone` are ahead of UTC when it is not summer there; `None` where the zone is not known.
fn standard_offset(zone: &str, now: Timestamp) -> Option<i32> {
    let zone = jiff::tz::TimeZone::get(zone).ok()?;
    // Summer time is ahead, and half a year later it is over.
    let at = |time: Timestamp| Some(zone.to_offset(jiff::Timestamp::from_second(time.0).ok()?).seconds());
    Some(at(now)?.min(at(now.plus(182 * 86_400))?))
}

struct Told<'a> {
    user: &'a User,
    policies: &'a Policies,
    scopes: &'a ScopeSet,
    settings: &'a Salesforce,
    issuer: &'a str,
    now: Timestamp,
}

impl<'a> Told<'a> {
    fn of(holder: &'a Holder, scopes: &'a ScopeSet, settings: &'a Salesforce, cx: &'a Cx) -> Self {
        let (user, policies) = (&holder.user, &holder.client.policies);
        Self { user, policies, scopes, settings, issuer: &cx.policy.issuer, now: cx.now }
    }

    /// The app's own names for what they may do; told with the scope of that name alone.
    fn custom_permissions(&self) -> Value {
        let asked = self.scopes.contains("custom_permissions");
        if asked { self.policies.permissions_of(self.user).into() } else { json!({}) }
    }

    /// Milliseconds that the clocks of their time zone are ahead of UTC in winter, as Salesforce counts.
    fn utc_offset(&self) -> Value {
        let zone = self.claim("profile", "zoneinfo");
        zone.as_str().and_then(|zone| standard_offset(zone, self.now)).map(|s| (s * 1000).into()).unwrap_or_default()
    }

    /// When anything that is known of them last changed, as Salesforce writes it.
    fn modified(&self) -> Value {
        let at = self.user.profile.updated_at.filter(|_| !self.claim("profile", "updated_at").is_null());
        at.map(|at| instant::text(at).replace('Z', ".000+0000").into()).unwrap_or_default()
    }

    /// A claim that is known and that the scopes let the program know.
    fn claim(&self, scope: &str, name: &str) -> Value {
        let may = ["id", "api", "full", scope].iter().any(|s| self.scopes.contains(s));
        may.then(|| self.user.claim(name)).flatten().unwrap_or_default()
    }

    /// `de-DE` → `de_DE` and `de`.
    fn locale(&self) -> (Value, Value) {
        match self.claim("profile", "locale").as_str() {
            Some(tag) => {
                let language = tag.split(['-', '_']).next().unwrap_or(tag);
                (tag.replace('-', "_").into(), language.into())
            }
            None => (Value::Null, Value::Null),
        }
    }

    fn nickname(&self) -> Value {
        match self.claim("profile", "nickname") {
            Value::Null => self.user.username.split('@').next().unwrap_or_default().into(),
            known => known,
        }
    }

    fn name(&self) -> Value {
        match self.claim("profile", "name") {
            Value::Null => (*self.user.username).into(),
            known => known,
        }
    }

    /// Where the APIs are; `{version}` is for the client to fill in.
    fn urls(&self) -> Value {
        let base = &self.settings.instance_url;
        let soap = |kind: &str| format!("{base}/services/Soap/{kind}/{{version}}/{}", self.settings.organization);
        let data = |rest: &str| format!("{base}/services/data/v{{version}}/{rest}");
        json!({
            "enterprise": soap("c"), "metadata": soap("m"), "partner": soap("u"), "rest": data(""),
            "sobjects": data("sobjects/"), "search": data("search/"), "query": data("query/"),
            "recent": data("recent/"), "tooling_soap": soap("T"), "tooling_rest": data("tooling/"),
            "profile": format!("{base}/{}", self.settings.user_id(&self.user.username)),
            "feeds": data("chatter/feeds"), "groups": data("chatter/groups"), "users": data("chatter/users"),
            "feed_items": data("chatter/feed-items"), "feed_elements": data("chatter/feed-elements"),
            "custom_domain": base,
        })
    }

    fn userinfo(&self) -> Value {
        let (locale, language) = self.locale();
        json!({
            // The one that ID tokens name (OIDC Core §5.3.2).
            "sub": self.user.username, "user_id": self.settings.user_id(&self.user.username),
            "organization_id": self.settings.organization_id(),
            "preferred_username": self.user.username, "nickname": self.nickname(),
            "name": self.name(), "given_name": self.claim("profile", "given_name"),
            "family_name": self.claim("profile", "family_name"), "zoneinfo": self.claim("profile", "zoneinfo"),
            "picture": self.claim("profile", "picture"), "photos": self.photos(),
            "profile": format!("{}{}", self.issuer, crate::provider::paths::ACCOUNT),
            "email": self.claim("email", "email"),
            "email_verified": self.claim("email", "email_verified") == true,
            "phone_number": self.claim("phone", "phone_number"), "address": self.claim("address", "address"),
            "urls": self.urls(), "active": self.user.active, "user_type": "STANDARD",
            "language": language, "locale": locale, "utcOffset": self.utc_offset(), "updated_at": self.modified(),
            "is_salesforce_integration_user": false,
        })
    }

    fn photos(&self) -> Value {
        let picture = self.claim("profile", "picture");
        json!({"picture": picture, "thumbnail": picture})
    }

    fn identity(&self) -> Value {
        let (locale, language) = self.locale();
        json!({
            "id": self.settings.identity_url(&self.user.username), "asserted_user": true,
            "user_id": self.settings.user_id(&self.user.username),
            "organization_id": self.settings.organization_id(), "username": self.user.username,
            "nick_name": self.nickname(), "display_name": self.name(),
            "first_name": self.claim("profile", "given_name"), "last_name": self.claim("profile", "family_name"),
            "email": self.claim("email", "email"), "email_verified": self.claim("email", "email_verified") == true,
            "timezone": self.claim("profile", "zoneinfo"), "photos": self.photos(),
            "addr_street": null, "addr_city": null, "addr_state": null, "addr_country": null, "addr_zip": null,
            "mobile_phone": self.claim("phone", "phone_number"), "mobile_phone_verified": false,
            "is_lightning_login_user": false,
            "status": {"created_date": null, "body": null},
            "urls": self.urls(), "active": self.user.active, "user_type": "STANDARD",
            "language": language, "locale": locale, "utcOffset": self.utc_offset(),
            "last_modified_date": self.modified(),
            "is_app_installed": true, "custom_attributes": self.policies.attributes_of(self.user),
            "custom_permissions": self.custom_permissions(),
            "mobile_policy": {},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_told_as_they_are_without_summer_time() {
        for summer_or_winter in [Timestamp(1_700_000_000), Timestamp(1_720_000_000)] {
            let offset = |zone| standard_offset(zone, summer_or_winter);
            assert_eq!((offset("Europe/Berlin"), offset("America/Los_Angeles")), (Some(3_600), Some(-28_800)));
            assert_eq!(
                (offset("Australia/Sydney"), offset("UTC"), offset("Nowhere/At_All")),
                (Some(36_000), Some(0), None)
            );
        }
    }
}
