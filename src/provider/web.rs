//! A browser's request: its cookies, its session, and answers that a browser may be given.
use super::{
    Cx,
    error::{Code, OAuthError},
    params::Params,
};
use crate::{
    login::session,
    model::Session,
    pages::{self, Page},
    policy::Policy,
    secret::{self, Digest},
};
use bytes::Bytes;
use cookie::{Cookie, SameSite};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use subtle::ConstantTimeEq;

/// The sign-on session; its value is known to the browser alone.
pub const SESSION_COOKIE: &str = "__Host-portcullis";
/// Tells one browser from another before anybody has signed in; forms are bound to it.
pub const BROWSER_COOKIE: &str = "__Host-portcullis-browser";
/// The session with a web app behind the gate, on that app's host.
pub const GATE_COOKIE: &str = "__Host-portcullis-gate";
/// Binds the way to sign-in and back to one browser, on that app's host.
pub const START_COOKIE: &str = "__Host-portcullis-start";

/// Fields of forms that are nobody's to read.
const SECRET: [&str; 5] = ["client_secret", "client_assertion", "password", "code_verifier", "refresh_token"];

/// One cookie of a request; `None` also where it is told twice.
pub fn cookie(headers: &http::HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut own = all.flat_map(|line| Cookie::split_parse(line.to_owned()).flatten()).filter(|c| c.name() == name);
    let first = own.next()?.value().to_owned();
    own.next().is_none().then_some(first)
}

/// `Set-Cookie` for one of ours (S56).
pub fn set_cookie(name: &'static str, value: String, max_age: Option<i64>) -> HeaderValue {
    let mut cookie = Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build()
        .to_string();
    if let Some(seconds) = max_age {
        cookie = format!("{cookie}; Max-Age={seconds}");
    }
    HeaderValue::from_str(&cookie).expect("our cookies are base64url")
}

/// A browser's visit to one of our pages.
pub struct Visit<'a> {
    /// What the request sees.
    pub cx: &'a Cx,
    /// The request.
    pub request: &'a Request<Bytes>,
    /// The session of the cookie, if it is live, and the cookie.
    pub session: Option<(String, Session)>,
    browser: Option<String>,
    set: Vec<HeaderValue>,
}

impl<'a> Visit<'a> {
    /// Reads cookies and session; a session whose user is gone is none, and one whose IdP may no longer speak for them.
    pub async fn of(request: &'a Request<Bytes>, cx: &'a Cx) -> Result<Self, OAuthError> {
        let mut session = None;
        if let Some(value) = cookie(request.headers(), SESSION_COOKIE) {
            let found = session::find(&*cx.store, &value, cx.policy.people.session, cx.now).await?;
            if let Some(found) = found {
                let spoken = found.at_idp.as_ref().is_none_or(|at| cx.speaks_still(&at.idp, &found.user));
                let live = spoken && cx.user(&found.user).await?.is_some_and(|u| u.active);
                session = live.then_some((value, found));
            }
        }
        let browser = cookie(request.headers(), BROWSER_COOKIE).filter(|b| b.len() == 43);
        Ok(Self { cx, request, session, browser, set: Vec::new() })
    }

    /// A visit whose session is of no matter: the page for an error is shown even when the store does not answer.
    pub fn without_session(request: &'a Request<Bytes>, cx: &'a Cx) -> Self {
        let browser = cookie(request.headers(), BROWSER_COOKIE).filter(|b| b.len() == 43);
        Self { cx, request, session: None, browser, set: Vec::new() }
    }

    /// The session.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref().map(|(_, s)| s)
    }

    /// Whether the browser has shown a secret of ours.
    pub fn keeps_secret(&self) -> bool {
        self.browser.is_some()
    }

    /// The browser's own secret; it gets one where it has none.
    pub fn browser(&mut self) -> String {
        if let Some(known) = &self.browser {
            return known.clone();
        }
        let new = secret::random_token();
        self.set.push(set_cookie(BROWSER_COOKIE, new.clone(), None));
        self.browser = Some(new.clone());
        new
    }

    /// What forms carry (S58): a digest of the browser's secret, which no other site can know, and one of the session that
    /// the page was shown in.
    pub fn csrf(&mut self) -> String {
        let browser = self.browser();
        format!("{}.{}", Digest::text(&format!("csrf:{browser}")), self.person(&browser))
    }

    fn person(&self, browser: &str) -> String {
        Digest::text(&format!("csrf:{browser}:{}", self.session().map_or("", |s| &*s.sid)))
    }

    /// The form of a page in which somebody speaks for themselves; `None` where no form was sent, or where another person
    /// has signed in since the page was shown: then it is shown again, to them.
    pub fn form_of_session(&self) -> Result<Option<Params>, OAuthError> {
        if self.request.method() != Method::POST {
            return Ok(None);
        }
        let Some(form) = self.form()? else { return Ok(None) };
        let person = self.browser.as_ref().map(|browser| self.person(browser));
        let shown = form.get("csrf").and_then(|c| c.split_once('.')).map(|(_, person)| person.to_owned());
        Ok(Some(form).filter(|_| shown == person))
    }

    /// The form, if it comes from a page of ours in this very browser; `None` where the browser itself says that it does,
    /// but got another secret since: then the page is shown again.
    pub fn form(&self) -> Result<Option<Params>, OAuthError> {
        let foreign = |why: &str| OAuthError::new(Code::AccessDenied, "the form was not ours").detail(why);
        let headers = self.request.headers();
        let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or_default());
        if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
            return Err(foreign("Sec-Fetch-Site"));
        }
        if text("origin").is_some_and(|origin| origin != &*self.cx.policy.issuer) {
            return Err(foreign("Origin"));
        }
        let form = Params::of_form(self.request)?;
        let browser = self.browser.as_ref().ok_or_else(|| foreign("no cookie"))?;
        let expected = Digest::text(&format!("csrf:{browser}"));
        let given = form.get("csrf").and_then(|c| c.split('.').next()).unwrap_or_default();
        let same = bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
        let said = text("sec-fetch-site").is_some() && text("origin").is_some();
        match same {
            true => Ok(Some(form)),
            false if said => Ok(None),
            false => Err(foreign("csrf")),
        }
    }

    /// A cookie to be set with the answer.
    pub fn set(&mut self, cookie: HeaderValue) {
        self.set.push(cookie);
    }

    /// The language of the pages: the first one asked for that there is.
    pub fn language(&self) -> &'static str {
        let asked = self.request.headers().get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
        pages::language(asked.unwrap_or_default())
    }

    /// A form that another site posted here comes again as a GET: a browser keeps our cookies from a cross-site POST
    /// (`SameSite=Lax`), so that nobody would seem to be signed in.
    pub fn again_as_get(self) -> Response<Bytes> {
        let form = form_urlencoded::parse(self.request.body()).into_owned();
        let to = format!("{}?{}", self.request.uri().path(), in_address(form));
        self.redirect(&to)
    }

    /// 303, so that a form is never posted on (S10).
    pub fn redirect(self, to: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        match HeaderValue::from_str(to) {
            Ok(to) => response.headers_mut().insert(header::LOCATION, to),
            Err(_) => return self.page(StatusCode::BAD_REQUEST, Page::error("bad_request"), &[]),
        };
        self.finish(response)
    }

    /// A page; forms on it may lead to `targets` besides ourselves.
    pub fn page(mut self, status: StatusCode, page: Page, targets: &[&str]) -> Response<Bytes> {
        let csrf = self.csrf();
        let html = pages::render(&page, self.language(), &csrf, &self.cx.policy);
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let policy = pages::content_security_policy(&page, targets);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        self.finish(response)
    }

    fn finish(self, mut response: Response<Bytes>) -> Response<Bytes> {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        for cookie in self.set {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// A form as a query, without what must never stand in an address and no authorization request needs (S16).
pub fn in_address(form: impl IntoIterator<Item = (String, String)>) -> String {
    let secret = |name: &str| SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret));
    let fields = form.into_iter().filter(|(name, _)| !secret(name));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Whether `target` is a path on this very host, with or without a query: nobody is led away by it (S54).
pub fn own_path(target: &str) -> bool {
    target.starts_with('/')
        && !target.starts_with("//")
        && !target.contains('\\')
        && target.bytes().all(|b| b.is_ascii_graphic())
}

/// Makes a page of a refusal at the gate: what happened, in words and in the browser's language.
pub fn in_words(response: &mut Response<Bytes>, key: &str, request: &http::HeaderMap, policy: &Policy) {
    let asked = request.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let page = Page::error(key);
    let html = pages::render(&page, pages::language(asked.unwrap_or_default()), "", policy);
    *response.body_mut() = Bytes::from(html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(policy) = HeaderValue::from_str(&pages::content_security_policy(&page, &[])) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// A file of ours that pages name.
pub fn asset(kind: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // An SVG opened by itself must not run anything.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    );
    response
}
