//! `exchange` and `asset_tokens` of an app: what it may exchange tokens for (RFC 8693).
use crate::{
    config::mistake::Findings,
    grant::token_exchange::GRANT_TYPE,
    model::{
        AuthMethod,
        exchange::{AssetTokens, Exchange},
        user::SCOPE_CLAIMS,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Whose tokens an app may exchange beside its own, and for what beside its own audience.
#[derive(Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangeTable {
    /// `client_id`s of the apps.
    from: BTreeSet<String>,
    /// Resources that the new token may open.
    audiences: BTreeSet<String>,
    /// Whether an actor token has to come along.
    actor_required: bool,
}

/// Asset tokens: a JWT that ties a user and a device; none without this table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetTable {
    /// Resources that they open: the app's own without.
    #[serde(default)]
    audiences: Vec<String>,
    /// Seconds that they are good for: 300 without, and never longer than the access token they are exchanged for.
    #[serde(default = "five_minutes")]
    lifetime: i64,
    /// Standard claims of the user that they say, such as `email`.
    #[serde(default)]
    attributes: BTreeSet<String>,
    /// Scopes that the access token must carry.
    #[serde(default = "api_and_openid")]
    needs: BTreeSet<String>,
}

fn five_minutes() -> i64 {
    300
}

fn api_and_openid() -> BTreeSet<String> {
    ["api", "openid"].map(str::to_owned).into()
}

/// What else the app's file says.
pub struct Caller<'a> {
    /// The audience of its tokens.
    pub audience: &'a str,
    /// How it authenticates.
    pub auth: AuthMethod,
    /// What it may use.
    pub grants: &'a BTreeSet<String>,
}

/// Validates both tables; mistakes go to `found`.
pub fn read(raw: ExchangeTable, asset: Option<AssetTable>, app: Caller<'_>, found: &mut Findings<'_>) -> Exchange {
    if !raw.from.is_empty() && app.auth == AuthMethod::None {
        found.wrong("exchange", "from needs an app that authenticates: anybody can say that they are this one");
    }
    if (asset.is_some() || raw != ExchangeTable::default()) && !app.grants.contains(GRANT_TYPE) {
        found.wrong("grants", format!("exchange and asset_tokens need {GRANT_TYPE}"));
    }
    let one_word = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !raw.audiences.iter().all(one_word) {
        found.wrong("exchange", "audiences are resources of routes: visible ASCII without spaces");
    }
    let asset = asset.map(|table| {
        let known = |name: &String| SCOPE_CLAIMS.iter().any(|(_, claims)| claims.contains(&name.as_str()));
        if !table.audiences.iter().all(one_word) {
            found.wrong("asset_tokens", "audiences are resources of routes: visible ASCII without spaces");
        }
        if !(1..=86_400).contains(&table.lifetime) {
            found.wrong("asset_tokens", "lifetime is between 1 and 86400 seconds");
        }
        if let Some(name) = table.attributes.iter().find(|name| !known(name)) {
            found.wrong("asset_tokens", format!("{name} is no standard claim of a user (OIDC Core §5.4)"));
        }
        let audiences = if table.audiences.is_empty() { vec![app.audience.to_owned()] } else { table.audiences };
        AssetTokens { audiences, lifetime: table.lifetime, attributes: table.attributes, needs: table.needs }
    });
    Exchange { from: raw.from, audiences: raw.audiences, actor_required: raw.actor_required, asset }
}

#[cfg(test)]
mod tests {
    use crate::config::app::read;
    use std::path::Path;

    const APP: &str = "client_id = \"a\"\nauth = \"none\"\nscopes = [\"api\"]\napproval = \"self\"\naudience = \"x\"\n";

    fn told(more: &str) -> Vec<String> {
        let mistakes = read(Path::new("a.toml"), &format!("{APP}{more}")).err().unwrap_or_default();
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_key() {
        let granted = "grants = [\"urn:ietf:params:oauth:grant-type:token-exchange\"]\n";
        assert!(told(&format!("{granted}exchange = {{ audiences = [\"y\"] }}\nasset_tokens = {{}}\n")).is_empty());
        for (more, line) in [
            (format!("{granted}exchange = {{ from = [\"b\"] }}\n"), "a.toml:7: exchange: from needs an app that"),
            (format!("{granted}exchange = {{ audiences = [\"a b\"] }}\n"), "a.toml:7: exchange: audiences are"),
            (format!("{granted}asset_tokens = {{ lifetime = 0 }}\n"), "a.toml:7: asset_tokens: lifetime is"),
            (format!("{granted}asset_tokens = {{ attributes = [\"shoe\"] }}\n"), "a.toml:7: asset_tokens: shoe is no"),
            ("grants = []\nasset_tokens = {}\n".to_owned(), "a.toml:6: grants: exchange and asset_tokens need"),
        ] {
            let told = told(&more);
            assert!(told.len() == 1 && told[0].starts_with(line), "{line} in {told:?}");
        }
    }
}
