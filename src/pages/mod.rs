//! What people see: server-rendered pages that need no script, in their language, under the operator's brand.
pub mod contrast;

use crate::{
    policy::{Policy, people::Brand, salesforce::of_full},
    provider::error::{Code, OAuthError},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{AutoEscape, Environment, context};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{LazyLock, OnceLock},
};

macro_rules! templates {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("templates/", $name)))),*] };
}
const TEMPLATES: [(&str, &str); 12] = templates![
    "layout.html",
    "login.html",
    "second_factor.html",
    "enrol.html",
    "select_account.html",
    "consent.html",
    "device.html",
    "device_confirm.html",
    "account.html",
    "logout.html",
    "message.html",
    "form_post.html",
];
const STYLE: &str = include_str!("style.css");
/// Sends the form of `form_post.html`; without scripts its button does.
const SUBMIT: &str = "document.forms[0].submit()";
const LANGUAGES: [(&str, &str); 2] =
    [("en", include_str!("languages/en.toml")), ("de", include_str!("languages/de.toml"))];

/// The scope that stands for nearly all others.
const FULL: &str = "full";

type Texts = BTreeMap<String, String>;

static TEXTS: LazyLock<Vec<(&'static str, Texts)>> = LazyLock::new(|| {
    let read = |(tag, text)| (tag, toml::from_str(text).expect("a language file is a table of texts; a test reads it"));
    LANGUAGES.into_iter().map(read).collect()
});

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).expect("a template parses; a test renders it");
    }
    environment
});

/// One page: a template and what it is told.
#[derive(Clone, Debug)]
pub struct Page {
    template: &'static str,
    told: Value,
}

impl Page {
    /// `template` (without `.html`) filled with `told`.
    pub fn new(template: &'static str, told: Value) -> Self {
        Self { template, told }
    }

    /// A page whose title and text are `{key}_title` and `{key}_text`.
    pub fn message(key: &str, told: &Value) -> Self {
        Self::new("message", json!({"key": key, "told": told}))
    }

    /// Something is wrong; `key` says what.
    pub fn error(key: &str) -> Self {
        Self::message(&format!("error_{key}"), &Value::Null)
    }

    /// What a person is told of a refusal: what happened and what to do.
    pub fn refusal(error: &OAuthError, detail: &str) -> Self {
        let key = match (error.code, error.public) {
            (Code::InvalidRequest, "the sign-in has expired") | (Code::InvalidRequestUri, _) => "expired",
            (Code::AccessDenied, "end-user denied authorization") => "denied",
            (Code::AccessDenied, "the form was not ours") => "foreign_form",
            (Code::AccessDenied, "single sign-on failed") => "single_sign_on",
            (Code::InvalidClient, _) => "unknown_app",
            (Code::InvalidRequest, public) if public.starts_with("redirect_uri") => "redirect_uri",
            (Code::TemporarilyUnavailable, _) => "unavailable",
            (Code::UnauthorizedClient, _) => "blocked_app",
            (_, "authentication failure" | "user is not admin approved to access this app" | "ip restricted") => {
                "not_allowed"
            }
            _ => "bad_request",
        };
        Self::message(&format!("error_{key}"), &json!({"detail": detail}))
    }

    /// A form that brings the answer to the app.
    pub fn form_post(action: &str, fields: &[(&'static str, String)]) -> Self {
        Self::new("form_post", json!({"action": action, "fields": fields}))
    }
}

/// The language that `Accept-Language` weighs most of those that there are, the first of equals; the first there is
/// where it names none of them (RFC 9110 §12.5.4).
pub fn language(accept: &str) -> &'static str {
    let known = |tag: &str| TEXTS.iter().map(|(t, _)| *t).find(|t| t.eq_ignore_ascii_case(tag));
    let mut best = (0, TEXTS[0].0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let tag = parts.next().and_then(|range| range.split('-').next()).and_then(known);
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // In thousandths, as fine as it may be; what is no weight weighs nothing.
        let weight = weight.map_or(1.0, |q| q.trim().parse::<f64>().unwrap_or(0.0)).clamp(0.0, 1.0);
        let weight = (weight * 1000.0) as u16;
        if let Some(tag) = tag.filter(|_| weight > best.0) {
            best = (weight, tag);
        }
    }
    best.1
}

/// The page in HTML.
pub fn render(page: &Page, language: &str, csrf: &str, policy: &Policy) -> String {
    let texts = TEXTS.iter().find(|(tag, _)| *tag == language).map_or(&TEXTS[0].1, |(_, texts)| texts);
    let brand = &policy.people.brand;
    let context = context! {
        t => texts, lang => language, csrf => csrf, submit => SUBMIT,
        brand => context! { name => brand.name, logo => brand.logo.is_some() },
        ..minijinja::Value::from_serialize(&page.told)
    };
    let template = ENVIRONMENT.get_template(&format!("{}.html", page.template));
    template
        .and_then(|t| t.render(context))
        // A test renders every page, so this is for the one nobody thought of.
        .unwrap_or_else(|_| "<!doctype html><title>Error</title><p>This page cannot be shown.</p>".to_owned())
}

/// What a page may load, and where its forms may lead.
pub fn content_security_policy(page: &Page, targets: &[&str]) -> String {
    let script = if page.template == "form_post" { script_source() } else { "'none'" };
    let targets: String = targets.iter().filter_map(|uri| source(uri)).map(|s| format!(" {s}")).collect();
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src {script}; form-action 'self'{targets}; \
         frame-ancestors 'none'; base-uri 'none'"
    )
}

fn script_source() -> &'static str {
    static SOURCE: OnceLock<String> = OnceLock::new();
    SOURCE.get_or_init(|| format!("'sha256-{}'", STANDARD.encode(crate::secret::Digest::of(SUBMIT.as_bytes()).0)))
}

/// Where a form may lead whose answer goes to `uri`, as CSP sources. Chromium holds every redirect after a form to
/// them, also those of the app itself, which may send the browser on from its callback to any site of its own.
fn source(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    match scheme {
        "https" => Some("https:".to_owned()),
        "http" => {
            let authority = rest.strip_prefix("//")?.split(['/', '?']).next()?;
            // Whatever could end the source and begin another one stays out.
            (!authority.contains([';', ',', ' ', '\''])).then(|| format!("http://{authority} https:"))
        }
        own => Some(format!("{own}:")),
    }
}

/// The style sheet, in the operator's colours.
pub fn style(brand: &Brand) -> String {
    STYLE.replace("#1d4ed8", &brand.colour).replace("#8ab4ff", &brand.colour_dark)
}

/// Scopes in plain words: `(scope, text)`; the operator's words, ours for the standard ones, or the bare name. Where
/// `full` stands for all but a refresh token, nobody is asked for its parts.
pub fn scopes_in_words<'a>(
    scopes: impl Iterator<Item = &'a str>,
    language: &str,
    policy: &Policy,
) -> Vec<(&'a str, String)> {
    let texts = TEXTS.iter().find(|(tag, _)| *tag == language).map_or(&TEXTS[0].1, |(_, texts)| texts);
    let words = |scope: &str| {
        let own = policy.people.scopes.get(scope);
        let own = own.and_then(|by| by.get(language).or_else(|| by.get("en")).or_else(|| by.values().next()));
        let standard = || texts.get(&format!("scope_{scope}"));
        let salesforce = || policy.salesforce.as_ref().and_then(|_| texts.get(&format!("salesforce_{scope}")));
        own.or_else(standard).or_else(salesforce).cloned().unwrap_or_else(|| scope.to_owned())
    };
    let all: Vec<&str> = scopes.collect();
    let full = policy.salesforce.is_some() && all.contains(&FULL);
    let told = |scope: &&str| !full || *scope == FULL || !of_full(scope);
    all.into_iter().filter(told).map(|scope| (scope, words(scope))).collect()
}

/// A QR code as SVG.
pub fn qr(text: &str) -> String {
    let Ok(code) = qrcode::QrCode::new(text) else { return String::new() };
    let svg = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(180, 180).build();
    svg.find("<svg").map_or(String::new(), |at| svg[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_and_every_template_uses_known_ones() {
        let (first, others) = TEXTS.split_first().unwrap();
        for (tag, texts) in others {
            assert_eq!(first.1.keys().collect::<Vec<_>>(), texts.keys().collect::<Vec<_>>(), "{tag}");
        }
        for (name, text) in TEMPLATES {
            for key in
                text.split(" t.").skip(1).filter_map(|r| r.split(|c: char| !c.is_alphanumeric() && c != '_').next())
            {
                assert!(first.1.contains_key(key), "{name} uses {key}");
            }
            let page = Page::new(name.trim_end_matches(".html").to_owned().leak(), json!({}));
            assert!(!render(&page, "en", "x", &Policy::default()).contains("cannot be shown"), "{name}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let page = Page::new("login", json!({"hint": "\"><script>alert(1)</script>", "action": "/x"}));
        let html = render(&page, "en", "c", &Policy::default());
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
    }

    #[test]
    fn forms_lead_to_the_app_and_where_it_sends_on() {
        let page = Page::new("login", Value::Null);
        let policy = |uri: &str| content_security_policy(&page, &[uri]);
        assert!(content_security_policy(&page, &[]).contains("form-action 'self';"));
        assert!(policy("https://a.example/cb?x").contains("form-action 'self' https:;"));
        assert!(policy("http://127.0.0.1:9/cb").contains("form-action 'self' http://127.0.0.1:9 https:;"));
        assert!(policy("com.example.app:/cb").contains("form-action 'self' com.example.app:;"));
        assert!(policy("http://127.0.0.1;script-src *").contains("form-action 'self';"));
    }

    #[test]
    fn pages_come_in_the_language_that_weighs_most() {
        for (accept, wanted) in [
            ("fr-FR,de-CH;q=0.9,en;q=0.1", "de"),
            ("en;q=0.3, de;q=0.8", "de"),
            ("de;q=0.5,en", "en"),
            ("de;q=0,en;q=0.1", "en"),
            ("de; q=0.5 ,en ; q=0.5", "de"),
            ("de;q=much,en;q=0.1", "en"),
            ("de;q=0", "en"),
            ("fr, *", "en"),
            ("", "en"),
        ] {
            assert_eq!(language(accept), wanted, "{accept}");
        }
    }
}
