//! Single sign-on, the demo playing the company's IdP: somebody new, her app, and an assertion exchanged for a token.
use super::{
    super::CLOCK,
    Tour,
    people::{ask, calls, member, redeem},
    until,
    user_agent::{Shown, UserAgent, between},
};
use crate::{
    clock::Clock,
    saml::{binding, instant, request::new_id, sign::SigningKey, write::Xml},
    secret::{self, Digest},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair};
use std::{fs, io::Read};

const IDP: &str = "https://idp.corp.example";
const BEARER: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const TABLES: &str = r#"
[saml]
key_file = "saml.key"
certificate_file = "saml.pem"

[[saml_idp]]
name = "corp"
metadata_file = "corp.xml"
create_users = true
groups = "groups"
permissions = { "Sales staff" = ["sales"] }
grants = true
"#;

/// The IdP: one key, and one person to speak of.
struct Idp {
    key: SigningKey,
    certificate: Vec<u8>,
}

/// Trust, a sign-on, a token by assertion, and the same assertion again.
pub fn play(tour: &Tour) -> Result<(), String> {
    let (idp, secret) = trust(tour)?;
    let mut dora = UserAgent::new(tour);
    let verifier = secret::random_token();
    let browser = "curl -L -b jar -c jar --cacert certs/ca.pem";
    let login = dora.open(&ask(&verifier))?;
    let line = format!("{browser} '{}/oauth2/authorize?response_type=code&client_id=notebook&...'", tour.issuer);
    let login = login.expect("28. The login page offers the company's IdP", &line, "corp")?;
    let link = login.page.replace("&#x2f;", "/").replace("&amp;", "&");
    let link = between(&link, "href=\"/oauth2/saml/start", "\"").ok_or("the login page leads to no IdP")?.to_owned();
    let line = format!("{browser} '{}/oauth2/saml/start?idp=corp&...'", tour.issuer);
    let sent = dora.open(&format!("/oauth2/saml/start{link}"))?;
    let sent = sent.expect("29. She goes there, with a signed request", &line, &format!("{IDP}/sso?SAMLRequest="))?;
    let back = posted(tour, &idp, &sent)?;
    let line = format!("{browser} '{}/oauth2/saml/finish?t=...'", tour.issuer);
    let consent = dora.open(&back.location)?;
    let consent = consent.expect("31. Whom nobody here knew is a user now", &line, "value=\"allow\"")?;
    let done = dora.submit(&consent, &[("decision", "allow")])?;
    let code = done.field("code").ok_or("no code came back")?;
    let answer = redeem(tour, "32. She said yes: the app redeems its code", &code, &verifier)?;
    calls(tour, "33. And calls the API: who calls is what the IdP said", &member(&answer, "access_token")?, "dora")?;
    let assertion = URL_SAFE_NO_PAD.encode(idp.assertion(tour, "/oauth2/token", None));
    let fields =
        [("grant_type", BEARER), ("client_id", "expenses"), ("client_secret", &*secret), ("assertion", &*assertion)];
    let answer = tour.post("34. Another app has an assertion about her: a token", "/oauth2/token", &fields, 200)?;
    calls(tour, "35. It acts for her", &member(&answer, "access_token")?, "dora")?;
    tour.post("36. The same assertion again: it works once", "/oauth2/token", &fields, 400).map(drop)
}

/// Puts the IdP's metadata, keys of ours and an app beside the configuration, and the tables into it; the app's secret.
fn trust(tour: &Tour) -> Result<(Idp, String), String> {
    let made = |name: &str| -> Result<_, String> {
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let params = CertificateParams::new(vec![name.to_owned()]).map_err(|e| e.to_string())?;
        let certificate = params.self_signed(&key).map_err(|e| e.to_string())?;
        Ok((key, certificate))
    };
    let (own, own_certificate) = made("sp")?;
    let (key, certificate) = made("idp")?;
    let certificate = certificate.der().to_vec();
    let conf = tour.folder.join("conf");
    let write = |name: &str, text: &str| fs::write(conf.join(name), text).map_err(|e| format!("{name}: {e}"));
    write("saml.key", &own.serialize_pem())?;
    write("saml.pem", &own_certificate.pem())?;
    write("corp.xml", &metadata(&certificate))?;
    let secret = secret::random_token();
    write(
        "apps/expenses.toml",
        &format!(
            "client_id = \"expenses\"\nauth = \"client_secret\"\nsecrets = [\"sha256:{}\"]\ngrants = [\"{BEARER}\"]\n\
             scopes = [\"orders:read\"]\napproval = {{ admin = [\"sales\"] }}\naudience = \"{}\"\n",
            Digest::of(secret.as_bytes()).hex(),
            tour.issuer
        ),
    )?;
    let main = fs::read_to_string(conf.join("portcullis.toml")).map_err(|e| e.to_string())?;
    write("portcullis.toml", &(main + TABLES))?;
    println!("   cat >> {}/portcullis.toml{}", conf.display(), TABLES.replace('\n', "\n     "));
    let url = format!("{}/oauth2/saml/metadata", tour.issuer);
    let known = until(|| tour.agent.get(&url).call().is_ok_and(|answer| answer.status() == 200));
    known.then_some(()).ok_or("the edited configuration did not take effect")?;
    let key = SigningKey::from_pkcs8(&key.serialize_der())?;
    Ok((Idp { key, certificate }, secret))
}

fn metadata(certificate: &[u8]) -> String {
    let protocol = "urn:oasis:names:tc:SAML:2.0:protocol";
    let redirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
    format!(
        "<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{IDP}\">\
         <md:IDPSSODescriptor protocolSupportEnumeration=\"{protocol}\"><md:KeyDescriptor use=\"signing\">\
         <ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data><ds:X509Certificate>{}\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\
         <md:SingleSignOnService Binding=\"{redirect}\" Location=\"{IDP}/sso\"/>\
         </md:IDPSSODescriptor></md:EntityDescriptor>",
        STANDARD.encode(certificate)
    )
}

/// Her browser brings the IdP's form: from another site, and so without our cookies.
fn posted(tour: &Tour, idp: &Idp, sent: &Shown) -> Result<Shown, String> {
    let field = |name| sent.field(name).ok_or_else(|| format!("the IdP was sent no {name}"));
    let packed = binding::from_field(&field("SAMLRequest")?).map_err(|e| e.to_string())?;
    let mut request = String::new();
    flate2::read::DeflateDecoder::new(&*packed).read_to_string(&mut request).map_err(|e| e.to_string())?;
    let id = between(&request, " ID=\"", "\"").ok_or("the request has no ID")?;
    let assertion = idp.assertion(tour, "/oauth2/saml/acs", Some(id));
    let response = idp.response(tour, id, &assertion);
    let url = format!("{}/oauth2/saml/acs", tour.issuer);
    let fields = [("SAMLResponse", binding::to_field(&response)), ("RelayState", field("RelayState")?)];
    let answer = tour.agent.post(&url).send_form(fields.iter().map(|(name, value)| (*name, &**value)));
    let shown = Shown::of(answer)?;
    let line = format!("curl --cacert certs/ca.pem -d SAMLResponse=... -d RelayState=... {url}");
    shown.expect("30. The IdP signs who she is, and sends her back", &line, "/oauth2/saml/finish?t=")
}

impl Idp {
    /// An assertion about Dora of the sales staff, delivered to `path` of ours, in answer to a request or to none.
    fn assertion(&self, tour: &Tour, path: &str, request: Option<&str>) -> String {
        let (id, now) = (new_id(), CLOCK.now());
        let (issued, until) = (instant::text(now), instant::text(now.plus(120)));
        let (issued, until, recipient) = (issued.as_str(), until.as_str(), format!("{}{path}", tour.issuer));
        let head = [
            ("xmlns:saml", Some(ASSERTION)),
            ("ID", Some(&*id)),
            ("IssueInstant", Some(issued)),
            ("Version", Some("2.0")),
        ];
        let xml = Xml::default().open("saml:Assertion", &head).leaf("saml:Issuer", &[], IDP);
        let bearer = [("Method", Some("urn:oasis:names:tc:SAML:2.0:cm:bearer"))];
        let data = [("InResponseTo", request), ("NotOnOrAfter", Some(until)), ("Recipient", Some(&*recipient))];
        let xml = xml.open("saml:Subject", &[]).leaf("saml:NameID", &[], "dora");
        let xml = xml.open("saml:SubjectConfirmation", &bearer).leaf("saml:SubjectConfirmationData", &data, "");
        let xml = xml.close("saml:SubjectConfirmation").close("saml:Subject");
        let xml = xml.open("saml:Conditions", &[("NotOnOrAfter", Some(until))]).open("saml:AudienceRestriction", &[]);
        let xml = xml.leaf("saml:Audience", &[], &tour.issuer).close("saml:AudienceRestriction");
        let xml = xml.close("saml:Conditions").open("saml:AuthnStatement", &[("AuthnInstant", Some(issued))]);
        let class = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport";
        let xml = xml.open("saml:AuthnContext", &[]).leaf("saml:AuthnContextClassRef", &[], class);
        let xml = xml.close("saml:AuthnContext").close("saml:AuthnStatement").open("saml:AttributeStatement", &[]);
        let xml = xml.open("saml:Attribute", &[("Name", Some("groups"))]);
        let xml = xml.leaf("saml:AttributeValue", &[], "Sales staff").close("saml:Attribute");
        let text = xml.close("saml:AttributeStatement").close("saml:Assertion").finish();
        self.key.envelop(&text, &id, Some(&self.certificate))
    }

    /// The Response to `request` around it; its assertion is what is signed.
    fn response(&self, tour: &Tour, request: &str, assertion: &str) -> String {
        let (id, now, acs) = (new_id(), instant::text(CLOCK.now()), format!("{}/oauth2/saml/acs", tour.issuer));
        let head = [
            ("xmlns:samlp", Some("urn:oasis:names:tc:SAML:2.0:protocol")),
            ("Destination", Some(&*acs)),
            ("ID", Some(&*id)),
            ("InResponseTo", Some(request)),
            ("IssueInstant", Some(&*now)),
            ("Version", Some("2.0")),
        ];
        let status = [("Value", Some("urn:oasis:names:tc:SAML:2.0:status:Success"))];
        let xml = Xml::default().open("samlp:Response", &head);
        let xml = xml.leaf("saml:Issuer", &[("xmlns:saml", Some(ASSERTION))], IDP).open("samlp:Status", &[]);
        let head = xml.leaf("samlp:StatusCode", &status, "").close("samlp:Status").finish();
        format!("{head}{assertion}</samlp:Response>")
    }
}
