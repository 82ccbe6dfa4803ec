//! `[session]`, `[login]`, `[brand]`, `[scope]` and `[[sign_in]]` of `conf/portcullis.toml`: what people meet.
use super::mistake::Findings;
use crate::{
    model::session::Lifetime,
    policy::people::{Brand, Limits, People},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How long a sign-on session lasts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionTable {
    /// Seconds without use.
    idle: i64,
    /// Seconds in any case.
    absolute: i64,
}

impl Default for SessionTable {
    fn default() -> Self {
        Self { idle: 8 * 3600, absolute: 24 * 3600 }
    }
}

/// Guessing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginTable {
    /// Wrong passwords, second factors or user codes within `window`, for one account.
    attempts_per_account: u32,
    /// The same for one client address.
    attempts_per_address: u32,
    /// Seconds after which attempts are forgotten.
    window: i64,
    /// Passwords hashed at one time. Sixteen times as many may be on their way to it; whoever comes then is asked to try
    /// again.
    concurrent_hashes: usize,
}

impl Default for LoginTable {
    fn default() -> Self {
        Self { attempts_per_account: 10, attempts_per_address: 50, window: 300, concurrent_hashes: 4 }
    }
}

/// How the pages look.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrandTable {
    /// The operator's name.
    name: Option<String>,
    /// An SVG or PNG of at most 64 KiB; relative to this file.
    logo_file: Option<String>,
    /// Colour of buttons and links, as `#rrggbb`.
    colour: Option<String>,
    /// The same on a dark page.
    colour_dark: Option<String>,
}

/// A host whose browsers sign in at the gate itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInTable {
    /// Scheme, host and port as a browser sees them, such as `https://intranet.example.com`.
    origin: String,
    /// The app they sign in to: its scopes, approval and level hold.
    app: String,
}

/// What the tables say; mistakes go to `found`.
pub fn read(
    session: &SessionTable,
    login: &LoginTable,
    brand: BrandTable,
    scopes: BTreeMap<String, BTreeMap<String, String>>,
    (sign_in, apps): (Vec<toml::Spanned<SignInTable>>, Option<&super::Apps>),
    found: &mut Findings<'_>,
) -> People {
    let colour = |c: &String| c.len() == 7 && c.starts_with('#') && c[1..].bytes().all(|b| b.is_ascii_hexdigit());
    let rules = [
        (
            session.idle < 60 || session.absolute < session.idle,
            ("session", "idle"),
            "at least 60 seconds, and at most absolute",
        ),
        (login.attempts_per_account == 0, ("login", "attempts_per_account"), "at least 1"),
        (login.attempts_per_address == 0, ("login", "attempts_per_address"), "at least 1"),
        (!(1..=86_400).contains(&login.window), ("login", "window"), "between 1 and 86400 seconds"),
        (!(1..=64).contains(&login.concurrent_hashes), ("login", "concurrent_hashes"), "between 1 and 64"),
        (!brand.colour.iter().all(colour), ("brand", "colour"), "as #rrggbb"),
        (!brand.colour_dark.iter().all(colour), ("brand", "colour_dark"), "as #rrggbb"),
    ];
    for (_, (table, key), right) in rules.into_iter().filter(|(broken, ..)| *broken) {
        found.table(table).wrong(key, right);
    }
    let found = found.table("brand");
    let folder = found.folder().to_owned();
    let logo = brand.logo_file.and_then(|file| {
        let read = std::fs::read(folder.join(&file)).map_err(|e| format!("{file}: {e}")).and_then(|bytes| {
            let kind = if bytes.starts_with(b"\x89PNG") {
                "image/png"
            } else if file.ends_with(".svg") {
                "image/svg+xml"
            } else {
                return Err(format!("{file}: neither PNG nor SVG"));
            };
            if bytes.len() > 64 << 10 { Err(format!("{file}: larger than 64 KiB")) } else { Ok(Some((kind, bytes))) }
        });
        found.or("logo_file", read, None)
    });
    let usual = Brand::default();
    let mut hosts = BTreeMap::new();
    for table in sign_in {
        let span = table.span().start;
        let SignInTable { origin, app } = table.into_inner();
        let found = found.within(span);
        let authority = origin.strip_prefix("https://").unwrap_or_default().to_ascii_lowercase();
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
            found.wrong("origin", "https:// and a host, with a port where it is not 443");
        }
        let known = apps.map(|apps| apps.get(app.as_str()).is_some_and(|a| a.grants.contains("authorization_code")));
        if known == Some(false) {
            found.wrong("app", format!("{app} is no app with the grant authorization_code"));
        }
        if hosts.insert(authority, app).is_some() {
            found.wrong("origin", format!("{origin} stands twice"));
        }
    }
    People {
        session: Lifetime { idle: session.idle, absolute: session.absolute },
        limits: Limits {
            account: login.attempts_per_account,
            address: login.attempts_per_address,
            window: login.window,
            hashes: login.concurrent_hashes,
        },
        brand: Brand {
            name: brand.name.unwrap_or(usual.name),
            logo,
            colour: brand.colour.unwrap_or(usual.colour),
            colour_dark: brand.colour_dark.unwrap_or(usual.colour_dark),
        },
        scopes,
        sign_in: hosts,
    }
}
