//! SOAP `login` and `logout` of the partner API, for programs that know a user's name and password and nothing else.
use crate::{
    model::User,
    policy::salesforce::Salesforce,
    provider::error::{Code, OAuthError, Situation},
    saml::{Document, Limits},
};
use quick_xml::escape::escape;

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A session for a user.
    Login {
        /// The name.
        username: String,
        /// The password, and behind it the security token.
        password: String,
    },
    /// The end of a session.
    Logout {
        /// The session: an access token.
        session: String,
    },
}

/// A refusal in SOAP: exception code and message.
pub type Fault = (&'static str, &'static str);
const MALFORMED: Fault = ("INVALID_TYPE", "the message is no login and no logout");
/// The session does not hold.
pub const BAD_SESSION: Fault = ("INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader");

/// Reads a message: small, without DOCTYPE and processing instructions, one call.
pub fn read(body: &[u8]) -> Result<Call, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| MALFORMED)?;
    let document = Document::read(text, Limits::MESSAGE).map_err(|_| MALFORMED)?;
    // Whoever names an element twice may be read in two ways.
    let only = |parent: &str, name: &str| {
        let mut found =
            document.elements().filter(|e| e.local() == name && e.parent().is_some_and(|p| p.local() == parent));
        found.next().filter(|_| found.next().is_none())
    };
    let value = |parent: &str, name: &str| only(parent, name).map(|e| e.text().trim().to_owned()).ok_or(MALFORMED);
    only("Envelope", "Body").ok_or(MALFORMED)?;
    match (only("Body", "login"), only("Body", "logout")) {
        (Some(_), None) => {
            let password = only("login", "password").ok_or(MALFORMED)?.text().to_owned();
            Ok(Call::Login { username: value("login", "username")?, password })
        }
        (None, Some(_)) => Ok(Call::Logout { session: value("SessionHeader", "sessionId")? }),
        _ => Err(MALFORMED),
    }
}

/// What a refusal of the username-password flow is called here.
pub fn fault(error: &OAuthError) -> Fault {
    match (error.situation, error.code) {
        (Some(Situation::RateLimited), _) => ("LOGIN_RATE_EXCEEDED", "login rate exceeded"),
        (_, Code::TemporarilyUnavailable | Code::ServerError) => ("SERVER_UNAVAILABLE", "try again later"),
        _ => ("INVALID_LOGIN", "Invalid username, password, security token; or user locked out."),
    }
}

/// The answer to `login`.
pub fn logged_in(session: &str, valid: i64, user: &User, version: &str, settings: &Salesforce) -> String {
    let (organization, id) = (settings.organization_id(), settings.user_id(&user.username));
    let url =
        |kind: &str| format!("{}/services/Soap/{kind}/{version}/{}", settings.instance_url, settings.organization);
    let (server, metadata) = (escape(url("u")), escape(url("m")));
    let (name, full) = (escape(&*user.username), escape(user.display_name()));
    let email = escape(user.profile.email.as_deref().unwrap_or_default());
    let session = escape(session);
    enveloped(&format!(
        "<loginResponse><result><metadataServerUrl>{metadata}</metadataServerUrl>\
         <passwordExpired>false</passwordExpired><sandbox>false</sandbox><serverUrl>{server}</serverUrl>\
         <sessionId>{session}</sessionId><userId>{id}</userId><userInfo><organizationId>{organization}</organizationId>\
         <sessionSecondsValid>{valid}</sessionSecondsValid><userEmail>{email}</userEmail>\
         <userFullName>{full}</userFullName><userName>{name}</userName></userInfo></result></loginResponse>"
    ))
}

/// The answer to `logout`.
pub fn logged_out() -> String {
    enveloped("<logoutResponse/>")
}

/// A refusal; its HTTP status is 500 (SOAP 1.1 §6.2).
pub fn refused((code, message): Fault) -> String {
    enveloped(&format!(
        "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
         <sf:fault xmlns:sf=\"urn:fault.partner.soap.sforce.com\"><sf:exceptionCode>{code}</sf:exceptionCode>\
         <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:fault></detail></soapenv:Fault>"
    ))
}

fn enveloped(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"{ENVELOPE}\" \
         xmlns=\"urn:partner.soap.sforce.com\" xmlns:sf=\"urn:fault.partner.soap.sforce.com\">\
         <soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Header/><e:Body>\
        <login xmlns=\"urn:partner.soap.sforce.com\"><username>a&amp;b</username><password> x </password></login>\
        </e:Body></e:Envelope>";

    #[test]
    fn s64_a_call_is_read_and_what_two_might_read_in_two_ways_is_refused() {
        let call = Call::Login { username: "a&b".to_owned(), password: " x ".to_owned() };
        assert_eq!(read(LOGIN.as_bytes()), Ok(call));
        let twice = "<username>a</username><username>b</username>";
        for bad in [
            format!("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{LOGIN}"),
            LOGIN.replace("<username>a&amp;b</username>", twice),
            LOGIN.replace("a&amp;b", "&x;"),
            LOGIN.replace("<e:Header/>", "<?php?>"),
            LOGIN.replace("login", "query"),
            "x".repeat(300 << 10),
            String::new(),
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(200)]);
        }
    }
}
