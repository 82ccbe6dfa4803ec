//! Between an authorization request and its answer: login → second factor → account → consent, and on again.
use super::{
    Cx,
    authorization_request::AuthorizationRequest,
    authorize,
    error::{Code, OAuthError, Situation},
    respond, restriction, saml,
    web::Visit,
};
use crate::{
    clock::Timestamp,
    grant::{Consent, approval_key},
    model::{Approval, Client, Level, ScopeSet, Session, network::Shown},
    secret::Digest,
};
use bytes::Bytes;
use http::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Seconds that a person may take.
const LIFETIME: i64 = 3600;
const PURPOSE: &str = "interaction";

/// What goes on when somebody has signed in. Sealed in the page's address: it survives restarts and the back button,
/// nobody can edit it (S14), and nothing is stored for a stranger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interaction {
    browser: Digest,
    /// When it began.
    pub begun: Timestamp,
    /// Where it leads.
    pub resume: Resume,
    /// The account has been chosen.
    pub chosen: bool,
    /// They must prove who they are now: an identity provider asks them, whatever it remembers.
    #[serde(default)]
    pub anew: bool,
    /// A second factor that is being enrolled: the `sid` of the session that it was shown in, and the secret in base64url.
    pub enrolling: Option<(String, String)>,
}

/// Where an interaction leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Resume {
    /// The answer to an app.
    Authorize(Box<AuthorizationRequest>),
    /// The device page.
    Device(Option<String>),
    /// The page of a person's own apps.
    Account,
    /// The same, when they have a second factor.
    Enrol,
}

/// What has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sign in.
    Login,
    /// Prove it with a second factor.
    SecondFactor,
    /// Say as whom.
    SelectAccount,
    /// Say yes or no.
    Consent,
    /// Nothing: go on.
    Go,
    /// This person may not use this app.
    NotAllowed,
    /// It is not the person whom the app means.
    SomebodyElse,
    /// They, or anybody, may not use this app from where they are.
    Outside,
}

impl Interaction {
    /// One that begins now, bound to the visit's browser.
    pub fn begin(visit: &mut Visit<'_>, resume: Resume) -> Self {
        let browser = Digest::of(visit.browser().as_bytes());
        let begun = visit.cx.now;
        Self { browser, begun, resume, chosen: false, anew: false, enrolling: None }
    }

    /// Its form in the address of a page.
    pub fn seal(&self, cx: &Cx) -> String {
        cx.tokens.seal(PURPOSE, self)
    }

    /// The one that the address names, if it belongs to this browser and has not grown old. Two tabs that came in the same
    /// moment were each given a secret, of which the browser kept the later one: there it begins anew, as it would if the
    /// app had asked again. What else it held, somebody in another browser may have said.
    pub fn of(visit: &mut Visit<'_>) -> Result<Self, OAuthError> {
        let gone = |why: &str| OAuthError::new(Code::InvalidRequest, "the sign-in has expired").detail(why);
        let query = visit.request.uri().query().unwrap_or_default();
        let sealed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "i").map(|(_, v)| v);
        let cx = visit.cx;
        let interaction: Option<Self> = sealed.and_then(|s| cx.tokens.unseal_value(PURPOSE, &s, cx.now));
        let interaction = interaction.ok_or_else(|| gone("not one of ours"))?;
        if interaction.begun.plus(LIFETIME) <= cx.now {
            return Err(gone("too old"));
        }
        let known = visit.keeps_secret();
        match interaction.browser == Digest::of(visit.browser().as_bytes()) {
            true => Ok(interaction),
            false if known => Ok(Self::begin(visit, interaction.resume)),
            false => Err(gone("begun in another browser")),
        }
    }

    /// The address of one of its pages.
    pub fn address(&self, path: &str, cx: &Cx) -> String {
        format!("{path}?i={}", self.seal(cx))
    }

    /// The app that asks, if one does.
    pub fn request(&self) -> Option<&AuthorizationRequest> {
        match &self.resume {
            Resume::Authorize(request) => Some(request),
            Resume::Device(_) | Resume::Account | Resume::Enrol => None,
        }
    }

    /// How sure the app that asks wants to be.
    pub fn level(&self, cx: &Cx) -> Level {
        let Some(request) = self.request() else { return Level::Standard };
        let client = cx.policy.clients.get(request.client.as_str());
        client.map_or(request.level, |c| c.interactive.level.max(request.level))
    }

    /// Where the browser goes when a step is done.
    pub fn next(&self, cx: &Cx) -> String {
        match &self.resume {
            Resume::Authorize(_) => self.address(super::paths::CONTINUE, cx),
            Resume::Device(None) => super::paths::DEVICE.to_owned(),
            Resume::Device(Some(code)) => format!("{}?user_code={code}", super::paths::DEVICE),
            Resume::Account => super::paths::ACCOUNT.to_owned(),
            Resume::Enrol => self.address(super::paths::SECOND_FACTOR, cx),
        }
    }
}

/// What has to happen before `request`, begun at `begun`, may be answered.
pub async fn step(
    request: &AuthorizationRequest,
    client: &Client,
    session: Option<&Session>,
    interaction: Option<&Interaction>,
    cx: &Cx,
) -> Result<Step, OAuthError> {
    let begun = interaction.map_or(cx.now, |i| i.begun);
    // Whom nothing would let in is not asked for a password first.
    if restriction::address_of_app(client, false, cx).is_err() {
        return Ok(Step::Outside);
    }
    let Some(session) = session else { return Ok(Step::Login) };
    let stale = request.max_age.is_some_and(|age| session.auth_time.plus(age) < cx.now && session.auth_time < begun);
    // `begun` itself may be the second in which they signed in.
    let again = request.login && (interaction.is_none() || session.auth_time < begun);
    if stale || again {
        return Ok(Step::Login);
    }
    if request.subject.as_ref().is_some_and(|wanted| *wanted != session.user) {
        let tried = interaction.is_some_and(|i| session.auth_time >= i.begun);
        return Ok(if tried { Step::SomebodyElse } else { Step::Login });
    }
    if !suffices(session, client.interactive.level.max(request.level)) {
        return Ok(Step::SecondFactor);
    }
    let user = cx.user(&session.user).await?;
    let shown = |level| Shown { level, refreshes: false };
    if restriction::address(client, user.as_deref(), shown(session.level), cx).is_err() {
        let excused = restriction::address(client, user.as_deref(), shown(Level::HighAssurance), cx).is_ok();
        return Ok(if excused { Step::SecondFactor } else { Step::Outside });
    }
    if request.select_account && !interaction.is_some_and(|i| i.chosen || session.auth_time >= i.begun) {
        return Ok(Step::SelectAccount);
    }
    match &client.approval {
        Approval::Admin(allowed) => {
            let may = user.is_some_and(|u| !u.permissions.is_disjoint(allowed));
            Ok(if !may {
                Step::NotAllowed
            } else if request.consent {
                Step::Consent
            } else {
                Step::Go
            })
        }
        Approval::SelfAuthorized if request.consent => Ok(Step::Consent),
        Approval::SelfAuthorized => {
            let given = consented(client, &session.user, cx).await?;
            let enough = given.is_some_and(|scopes| scopes.contains_all(&authorize::asked(request)));
            Ok(if enough { Step::Go } else { Step::Consent })
        }
    }
}

/// The scopes that a user has said yes to.
pub async fn consented(client: &Client, user: &str, cx: &Cx) -> Result<Option<ScopeSet>, OAuthError> {
    let Some(record) = cx.store.get(&approval_key(&client.id, user), cx.now).await? else { return Ok(None) };
    let consent: Consent = crate::grant::stored(&record)?;
    Ok(Some(match consent.scopes {
        Some(scopes) => ScopeSet::parse(&scopes).unwrap_or_default(),
        None => client.scopes.clone(),
    }))
}

/// Answers the app, or shows what has to happen first.
pub async fn advance(
    mut visit: Visit<'_>,
    request: AuthorizationRequest,
    interaction: Option<Interaction>,
) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let client = client(&request, cx)?;
    let session = visit.session().cloned();
    let step = step(&request, &client, session.as_ref(), interaction.as_ref(), cx).await?;
    if request.silent {
        let silent = |code, why| OAuthError::new(code, why);
        match step {
            Step::Go | Step::NotAllowed | Step::SomebodyElse | Step::Outside => {}
            Step::Login => {
                return Ok(respond::unasked(visit, &request, &silent(Code::LoginRequired, "nobody is signed in")));
            }
            Step::Consent => {
                return Ok(respond::unasked(visit, &request, &silent(Code::ConsentRequired, "they have not said yes")));
            }
            Step::SecondFactor | Step::SelectAccount => {
                return Ok(respond::unasked(
                    visit,
                    &request,
                    &silent(Code::InteractionRequired, "a page must be shown"),
                ));
            }
        }
    }
    match (step, session) {
        (Step::Go, Some(session)) => respond::success(visit, &request, &client, &session).await,
        (Step::NotAllowed, _) => {
            let why = "user is not admin approved to access this app";
            let user = visit.session().map_or("", |s| &*s.user);
            cx.tokens.tally.denied(&client.id, user, cx.now);
            Ok(respond::unasked(
                visit,
                &request,
                &OAuthError::new(Code::AccessDenied, why).of(Situation::NotAdminApproved),
            ))
        }
        (Step::Outside, _) => {
            let detail = cx.address.map(|a| a.to_string()).unwrap_or_default();
            let refused = OAuthError::new(Code::AccessDenied, "ip restricted").of(Situation::IpRestricted);
            Ok(respond::unasked(visit, &request, &refused.detail(detail)))
        }
        (Step::SomebodyElse, _) => {
            let why = "somebody else is signed in";
            Ok(respond::error(visit, &request, &OAuthError::new(Code::LoginRequired, why)))
        }
        (step, session) => {
            let interaction = match interaction {
                Some(known) => known,
                None => Interaction::begin(&mut visit, Resume::Authorize(Box::new(request))),
            };
            if let (Step::SecondFactor, Some(session)) = (step, &session)
                && let Some(to) = saml::step_up(session, &interaction, cx)
            {
                return Ok(visit.redirect(&to));
            }
            let path = match step {
                Step::Login | Step::Go | Step::NotAllowed | Step::SomebodyElse | Step::Outside => super::paths::LOGIN,
                Step::SecondFactor => super::paths::SECOND_FACTOR,
                Step::SelectAccount => super::paths::SELECT_ACCOUNT,
                Step::Consent => super::paths::CONSENT,
            };
            let to = interaction.address(path, cx);
            Ok(visit.redirect(&to))
        }
    }
}

/// The client of a request that was checked when it came; the policy may have changed since: nobody is sent to an address
/// that was taken off it, nor gets by the browser what may not come that way any more (F12).
pub fn client(request: &AuthorizationRequest, cx: &Cx) -> Result<Arc<Client>, OAuthError> {
    let client = cx.policy.clients.get(request.client.as_str()).filter(|c| !c.blocked).cloned().ok_or_else(|| {
        OAuthError::new(Code::UnauthorizedClient, "this app is blocked by admin").of(Situation::AppBlocked)
    })?;
    authorize::registered(&client, &request.redirect_uri, cx)?;
    if !client.interactive.response_types.contains(request.response_type.name()) {
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app may not use this response_type"));
    }
    Ok(client)
}

/// Whether `level` is what a session has to have for `client`.
pub fn suffices(session: &Session, level: Level) -> bool {
    !session.second_factor_due && session.level >= level
}
