//! `[salesforce]` of `conf/portcullis.toml`: the second wire shape, off without this table.
use super::{Apps, mistake::Findings};
use crate::{
    model::Client,
    policy::salesforce::{SHORT_ID, Salesforce, is_id},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// The organization that programs written for Salesforce's connected apps see.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SalesforceTable {
    /// The organization's identifier: 15 or 18 letters and digits, beginning with `00D`.
    organization: String,
    /// `instance_url` of answers: scheme, host and port of the APIs; the issuer without.
    instance_url: Option<String>,
    /// Further `aud` values of assertions, compared as they are written: login hosts that programs have built in.
    #[serde(default)]
    audiences: Vec<String>,
    /// The `client_id` of the app that SOAP `login` issues sessions for; it needs the grant `password`. Off without.
    soap_app: Option<String>,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: SalesforceTable, issuer: &str, apps: Option<&Apps>, found: &mut Findings<'_>) -> Salesforce {
    if !is_id(&raw.organization) || !raw.organization.starts_with("00D") {
        found.wrong("organization", "15 letters and digits beginning with 00D, or 18 whose last three are right");
    }
    let instance_url = raw.instance_url.unwrap_or_else(|| issuer.to_owned());
    let authority = instance_url.strip_prefix("https://").unwrap_or_default();
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        found.wrong("instance_url", "https, a host and perhaps a port, without trailing slash: clients append paths");
    }
    if raw.audiences.iter().any(|a| a.is_empty() || !a.bytes().all(|b| b.is_ascii_graphic())) {
        found.wrong("audiences", "visible ASCII without spaces, such as \"https://login.salesforce.com\"");
    }
    let may_sign_in = |c: &Arc<Client>| c.grants.contains("password");
    if let (Some(id), Some(apps)) = (&raw.soap_app, apps)
        && !apps.get(id.as_str()).is_some_and(may_sign_in)
    {
        found.wrong("soap_app", format!("{id} is no app, or one without the grant password"));
    }
    Salesforce {
        organization: raw.organization.get(..SHORT_ID).unwrap_or_default().into(),
        instance_url: instance_url.into(),
        audiences: raw.audiences,
        soap_app: raw.soap_app.map(Arc::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::parse;
    use std::path::Path;

    fn told(text: &str) -> Vec<String> {
        let file = Path::new("p.toml");
        let raw: SalesforceTable = parse(file, text).unwrap();
        let mut found = Findings::of(file, text);
        read(raw, "https://id.example", Some(&Apps::new()), &mut found);
        found.mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_key() {
        assert!(told("organization = \"00D000000000062EAA\"\n").is_empty());
        let wrong = "organization = \"00D000000000062EAB\"\ninstance_url = \"https://a.example/\"\naudiences = [\"a b\"]\nsoap_app = \"x\"\n";
        let told = told(wrong);
        for line in
            ["p.toml:1: organization", "p.toml:2: instance_url", "p.toml:3: audiences", "p.toml:4: soap_app: x is no"]
        {
            assert!(told.iter().any(|m| m.starts_with(line)), "{line} in {told:?}");
        }
    }
}
