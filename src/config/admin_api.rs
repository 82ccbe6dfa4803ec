//! `[admin_api]` of `conf/portcullis.toml`: the admin API, off without this table.
use super::{mistake::Findings, server::Settings};
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;

/// What an administrator's programs talk to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminApiTable {
    /// `address:port`. Anywhere but on loopback it is served over TLS, with the certificates of the HTTPS listeners.
    listen: SocketAddr,
    /// TLS on loopback too.
    #[serde(default)]
    tls: bool,
    /// The `audience` of the apps whose tokens open it; `/admin` of the issuer without.
    audience: Option<String>,
}

/// The admin API's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminApi {
    /// Where.
    pub listen: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// `aud` of the tokens that open it.
    pub audience: String,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: AdminApiTable, issuer: &str, settings: &Settings, found: &mut Findings<'_>) -> AdminApi {
    let others = settings.listen.iter().chain(&settings.redirect).chain([&settings.admin]);
    if raw.listen.port() != 0 && others.into_iter().any(|a| *a == raw.listen) {
        found.wrong("listen", "an address is named twice");
    }
    let audience = raw.audience.unwrap_or_else(|| format!("{issuer}/admin"));
    if audience.is_empty() || !audience.bytes().all(|b| b.is_ascii_graphic()) || audience == issuer {
        found.wrong("audience", "visible ASCII without spaces, and not the issuer: no other token may open it");
    }
    AdminApi { listen: raw.listen, tls: raw.tls || !raw.listen.ip().is_loopback(), audience }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::parse;
    use std::path::Path;

    #[test]
    fn mistakes_are_told_and_only_loopback_goes_without_tls() {
        let file = Path::new("p.toml");
        let server = "listen = [\"127.0.0.1:1\"]\ndata = \"d\"\n";
        let settings = super::super::server::read(parse(file, server).unwrap(), false, &mut Findings::of(file, server));
        let told = |text: &str| {
            let mut found = Findings::of(file, text);
            let read = read(parse(file, text).unwrap(), "https://id.example", &settings, &mut found);
            (read, found.mistakes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (read, mistakes) = told("listen = \"127.0.0.1:2\"\n");
        assert!(mistakes.is_empty() && !read.tls && read.audience == "https://id.example/admin");
        assert!(told("listen = \"192.0.2.1:2\"\n").0.tls && told("listen = \"[::1]:2\"\ntls = true\n").0.tls);
        let wrong = told("listen = \"127.0.0.1:1\"\naudience = \"https://id.example\"\n").1;
        assert!(wrong[0].starts_with("p.toml:1: listen") && wrong[1].starts_with("p.toml:2: audience"), "{wrong:?}");
    }
}
