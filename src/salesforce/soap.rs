//! SOAP `login`, `getUserInfo` and `logout` of the partner and the enterprise API, for programs that know a user's name and
//! password and nothing else.
use crate::{
    model::User,
    policy::salesforce::Salesforce,
    provider::error::{Code, OAuthError, Situation},
    saml::{Document, Limits},
};
use quick_xml::escape::escape;

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Which of the two APIs a path belongs to: they differ in their namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/services/Soap/u/`.
    Partner,
    /// `/services/Soap/c/`.
    Enterprise,
}

impl Api {
    /// The API, and the version behind it, of a path that is one of theirs.
    pub fn of(path: &str) -> Option<(Self, &str)> {
        let (api, rest) = match path.strip_prefix("/services/Soap/")?.split_once('/')? {
            ("u", rest) => (Self::Partner, rest),
            ("c", rest) => (Self::Enterprise, rest),
            _ => return None,
        };
        rest.split('/').next().filter(|version| !version.is_empty()).map(|version| (api, version))
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Partner => "u",
            Self::Enterprise => "c",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Enterprise => "enterprise",
        }
    }
}

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
    /// Whose a session is.
    UserInfo {
        /// The session: an access token.
        session: String,
    },
    /// The end of a session.
    Logout {
        /// The session: an access token.
        session: String,
    },
}

/// A refusal in SOAP: exception code and message.
pub type Fault = (&'static str, &'static str);
const MALFORMED: Fault = ("INVALID_TYPE", "the message is no login, no getUserInfo and no logout");
/// Nothing can be decided.
pub const UNAVAILABLE: Fault = ("SERVER_UNAVAILABLE", "try again later");
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
    let session = || value("SessionHeader", "sessionId");
    match ["login", "getUserInfo", "logout"].map(|call| only("Body", call)) {
        [Some(_), None, None] => {
            let password = only("login", "password").ok_or(MALFORMED)?.text().to_owned();
            Ok(Call::Login { username: value("login", "username")?, password })
        }
        [None, Some(_), None] => Ok(Call::UserInfo { session: session()? }),
        [None, None, Some(_)] => Ok(Call::Logout { session: session()? }),
        _ => Err(MALFORMED),
    }
}

/// What a refusal of the username-password flow is called here: each code is one of the schema's, since toolkits with types
/// read no other.
pub fn fault(error: &OAuthError) -> Fault {
    match (error.situation, error.code) {
        (Some(Situation::RateLimited), _) => ("PASSWORD_LOCKOUT", "login rate exceeded"),
        (Some(Situation::IpRestricted), _) => ("LOGIN_DURING_RESTRICTED_DOMAIN", "ip restricted"),
        (_, Code::TemporarilyUnavailable | Code::ServerError) => UNAVAILABLE,
        _ => ("INVALID_LOGIN", "Invalid username, password, security token; or user locked out."),
    }
}

/// The answer to `login`: a session for `user`, good for so many seconds.
pub fn logged_in(session: &str, valid: i64, user: &User, version: &str, api: Api, settings: &Salesforce) -> String {
    let id = settings.user_id(&user.username);
    let url =
        |kind: &str| format!("{}/services/Soap/{kind}/{version}/{}", settings.instance_url, settings.organization);
    let (server, metadata, session) = (url(api.letter()), url("m"), escape(session));
    let (server, metadata, told) = (escape(&server), escape(&metadata), user_info(valid, user, settings));
    let result = format!(
        "<loginResponse><result><metadataServerUrl>{metadata}</metadataServerUrl>\
         <passwordExpired>false</passwordExpired><sandbox>false</sandbox><serverUrl>{server}</serverUrl>\
         <sessionId>{session}</sessionId><userId>{id}</userId><userInfo>{told}</userInfo></result></loginResponse>"
    );
    enveloped(&result, api)
}

/// The answer to `getUserInfo`.
pub fn user_told(valid: i64, user: &User, api: Api, settings: &Salesforce) -> String {
    let told = user_info(valid, user, settings);
    enveloped(&format!("<getUserInfoResponse><result>{told}</result></getUserInfoResponse>"), api)
}

/// `GetUserInfoResult`, in the order that its schema gives: there are readers that insist on it.
fn user_info(valid: i64, user: &User, settings: &Salesforce) -> String {
    let (organization, id) = (settings.organization_id(), settings.user_id(&user.username));
    let (name, full) = (escape(&*user.username), escape(user.display_name()));
    let email = escape(user.profile.email.as_deref().unwrap_or_default());
    let zone = escape(user.profile.zoneinfo.as_deref().unwrap_or("GMT"));
    let locale = user.profile.locale.as_deref().unwrap_or("en-US").replace('-', "_");
    let locale = escape(&locale);
    format!(
        "<accessibilityMode>false</accessibilityMode><currencySymbol xsi:nil=\"true\"/>\
         <orgDefaultCurrencyIsoCode xsi:nil=\"true\"/><orgDisallowHtmlAttachments>false</orgDisallowHtmlAttachments>\
         <orgHasPersonAccounts>false</orgHasPersonAccounts><organizationId>{organization}</organizationId>\
         <organizationMultiCurrency>false</organizationMultiCurrency><organizationName>{organization}</organizationName>\
         <profileId/><roleId xsi:nil=\"true\"/><sessionSecondsValid>{valid}</sessionSecondsValid>\
         <userDefaultCurrencyIsoCode xsi:nil=\"true\"/><userEmail>{email}</userEmail><userFullName>{full}</userFullName>\
         <userId>{id}</userId><userLanguage>{locale}</userLanguage><userLocale>{locale}</userLocale>\
         <userName>{name}</userName><userTimeZone>{zone}</userTimeZone><userType>Standard</userType>\
         <userUiSkin>Theme3</userUiSkin>"
    )
}

/// The answer to `logout`.
pub fn logged_out(api: Api) -> String {
    enveloped("<logoutResponse/>", api)
}

/// A refusal; its HTTP status is 500 (SOAP 1.1 §6.2). Toolkits find its class by the name of the detail's element.
pub fn refused((code, message): Fault, api: Api) -> String {
    let class = match code {
        "INVALID_LOGIN" | "PASSWORD_LOCKOUT" | "LOGIN_DURING_RESTRICTED_DOMAIN" => "LoginFault",
        _ => "UnexpectedErrorFault",
    };
    let fault = format!(
        "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
         <sf:{class} xsi:type=\"sf:{class}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
         <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{class}></detail></soapenv:Fault>"
    );
    enveloped(&fault, api)
}

fn enveloped(body: &str, api: Api) -> String {
    let name = api.name();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"{ENVELOPE}\" \
         xmlns:xsi=\"{INSTANCE}\" xmlns=\"urn:{name}.soap.sforce.com\" xmlns:sf=\"urn:fault.{name}.soap.sforce.com\">\
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
            LOGIN.replace("</login>", "</login><logout/>"),
            "x".repeat(300 << 10),
            String::new(),
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(200)]);
        }
    }
}
