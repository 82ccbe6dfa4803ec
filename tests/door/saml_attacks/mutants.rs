//! What a forger makes of a valid message without any key.
use super::{Bait, Mutants, Valid, assertion, evil, signature};
use crate::saml_messages::{ASSERTION, NOW, PROTOCOL, part};
use portcullis::saml::{Kind, instant};

impl Valid<'_> {
    /// The eight families of signature wrapping (Somorovsky et al., 2012).
    pub fn wrapped(&self) -> Mutants {
        if self.kind != Kind::Response {
            return self.wrapped_alone();
        }
        let message = &self.message;
        let mut all = Vec::new();
        for fresh in [true, false] {
            let name = |n: u8| format!("XSW{n}{}", if fresh { "" } else { " same id" });
            let (signed, sealed) = (assertion(message), signature(message));
            let bare = signed.replace(sealed, "");
            let stripped = message.replace(sealed, "");
            let forged = evil(&bare, fresh);
            let spoilt = evil(message, fresh);
            // 1 and 2: the signed Response inside or before the signature of a forged one.
            let inner = sealed.replace("</ds:Signature>", &format!("{stripped}</ds:Signature>"));
            let root = evil(&stripped, fresh);
            all.push((name(1), root.replacen("</saml:Issuer>", &format!("</saml:Issuer>{inner}"), 1)));
            all.push((name(2), root.replacen("</saml:Issuer>", &format!("</saml:Issuer>{stripped}{sealed}"), 1)));
            // 3 and 4: a forged assertion before the signed one, or around it.
            all.push((name(3), message.replace(signed, &format!("{forged}{signed}"))));
            let around = forged.replace("</saml:Assertion>", &format!("{signed}</saml:Assertion>"));
            all.push((name(4), message.replace(signed, &around)));
            // 5 and 6: the signature on the forged one, what it signed at the end or inside of it.
            all.push((name(5), spoilt.replace("</samlp:Response>", &format!("{bare}</samlp:Response>"))));
            let swallowed = sealed.replace("</ds:Signature>", &format!("{bare}</ds:Signature>"));
            all.push((name(6), spoilt.replace(evil(sealed, fresh).as_str(), &swallowed)));
            // 7 and 8: forged ones in Extensions, what was signed in an Object.
            let extensions = format!("<samlp:Extensions>{forged}</samlp:Extensions>");
            all.push((name(7), message.replacen("<samlp:Status>", &format!("{extensions}<samlp:Status>"), 1)));
            let object = format!("<ds:Object>{bare}</ds:Object></ds:Signature>");
            all.push((name(8), spoilt.replacen("</ds:Signature>", &object, 1)));
        }
        all
    }

    /// The same for a message that is itself what is signed.
    fn wrapped_alone(&self) -> Mutants {
        let (message, end) = (&self.message, self.end());
        let mut all = Vec::new();
        for fresh in [true, false] {
            let sealed = signature(message);
            let bare = message.replace(sealed, "");
            let (forged, spoilt) = (evil(&bare, fresh), evil(message, fresh));
            let behind = |inner: &str| forged.replacen("</saml:Issuer>", &format!("</saml:Issuer>{inner}"), 1);
            let last = |text: &str, inner: &str| {
                let (head, _) = text.rsplit_once(&end).unwrap();
                format!("{head}{inner}{end}")
            };
            let in_signature = |inner: &str| format!("{inner}</ds:Signature>");
            let name = |n: u8| format!("XSW{n} alone{}", if fresh { "" } else { " same id" });
            all.push((name(1), behind(&sealed.replace("</ds:Signature>", &in_signature(&bare)))));
            all.push((name(2), behind(&format!("{bare}{sealed}"))));
            all.push((name(3), last(&forged, message)));
            all.push((name(4), last(&spoilt, &bare)));
            all.push((
                name(5),
                behind(&format!("<samlp:Extensions xmlns:samlp=\"{PROTOCOL}\">{message}</samlp:Extensions>")),
            ));
            let object = format!("<ds:Object>{bare}</ds:Object>");
            all.push((name(6), spoilt.replacen("</ds:Signature>", &in_signature(&object), 1)));
            all.push((name(7), format!("{forged}{message}")));
            all.push((name(8), format!("{message}{forged}")));
        }
        all
    }

    /// Markup that parsers see differently, and XML that makes them do things.
    pub fn markup(&self) -> Mutants {
        let (m, place, root) = (&self.message, self.place(), self.root());
        let Bait { http, file, .. } = self.bait;
        let entity = |doctype: &str| format!("{doctype}{}", m.replace("alice@", "&e;@"));
        let laughs: String =
            (1..12).map(|i| format!("<!ENTITY e{i} '{}'>", format!("&e{};", i - 1).repeat(10))).collect();
        let many = |what: &str| (0..5_000).map(|i| format!(" {what}{i}=\"urn:x\"")).collect::<String>();
        // The identifier of what is signed, once more.
        let twice = |name: &str| {
            let inner = place.trim_end_matches([' ', '>']);
            m.replacen(inner, &format!("{inner} {name}=\"{}\"", self.id()), 1)
        };
        let mut all: Mutants = [
            ("comment in NameID", m.replace("alice@corp", "alice@<!-- -->corp")),
            ("comment splits NameID", m.replace("alice@corp.example", "alice@corp.example<!---->.evil")),
            ("comment before the root", format!("<!-- -->{m}")),
            ("CDATA in NameID", m.replace("alice@corp.example", "<![CDATA[alice@corp.example]]>")),
            ("PI in NameID", m.replace("alice@corp", "alice@<?x?>corp")),
            ("element in NameID", m.replace("alice@corp", "alice@<x>corp</x>")),
            ("DOCTYPE", format!("<!DOCTYPE samlp:Response>{m}")),
            ("internal entity", entity("<!DOCTYPE r [<!ENTITY e 'admin'>]>")),
            ("file entity", entity(&format!("<!DOCTYPE r [<!ENTITY e SYSTEM 'file://{file}'>]>"))),
            ("http entity", entity(&format!("<!DOCTYPE r [<!ENTITY e SYSTEM '{http}'>]>"))),
            ("external DTD", format!("<!DOCTYPE r SYSTEM '{http}x.dtd'>{m}")),
            ("billion laughs", entity(&format!("<!DOCTYPE r [<!ENTITY e0 'x'>{laughs}<!ENTITY e '&e11;'>]>"))),
            ("default attribute", format!("<!DOCTYPE r [<!ATTLIST saml:NameID Format CDATA 'x'>]>{m}")),
            ("undeclared entity", m.replace("alice@", "&e;@")),
            ("stylesheet", format!("<?xml-stylesheet href='{http}'?>{m}")),
            ("two roots", format!("{m}{m}")),
            ("text behind", format!("{m}x")),
            ("another root", format!("<x>{m}</x>")),
            ("5,000 attributes", m.replacen(&root, &format!("{root}{} ", many("a")), 1)),
            ("5,000 namespaces", m.replacen(&root, &format!("{root}{} ", many("xmlns:a")), 1)),
            ("too deep", m.replacen(place, &format!("{}{}{place}", "<x>".repeat(9_000), "</x>".repeat(9_000)), 1)),
            ("too many", m.replacen(place, &format!("{}{place}", "<x/>".repeat(40_000)), 1)),
            ("too large", m.replacen(place, &format!("{}{place}", " ".repeat(4 << 20)), 1)),
            ("relative namespace", m.replacen(&root, &format!("{root}xmlns:v=\"1\" "), 1)),
            ("other namespace", m.replacen(":tc:SAML:2.0:", ":tc:SAML:2.1:", 1)),
            ("SAML 1.1", m.replacen("Version=\"2.0\"", "Version=\"1.1\"", 2)),
            ("NUL", m.replace("alice@", "alice\0@")),
            ("xml:id", twice("xml:id")),
            ("Id twice", twice("Id")),
            ("id twice", twice("id")),
            ("ID twice", twice("ID")),
            (
                "EncryptedAssertion",
                m.replacen(place, &format!("<saml:EncryptedAssertion xmlns:saml=\"{}\"/>{place}", ASSERTION), 1),
            ),
        ]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
        all.extend((1..m.len()).step_by(211).map(|at| (format!("cut at {at}"), m[..at].to_owned())));
        all
    }

    /// Messages of a right shape that are as much work as the limits allow before it is known that nobody signed them.
    pub fn heavy(&self) -> Mutants {
        let m = &self.message.replace("alice@", "admin@");
        // In what is signed.
        let place = if self.kind == Kind::Response { "<saml:Subject>" } else { self.place() };
        let before = |text: &str| m.replacen(place, &format!("{text}{place}"), 1);
        let repeat = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
        let wide = |count| repeat(count, &|n| format!(" a{n}=\"\""));
        // Namespaces from far above, asked for by every attribute.
        let bound = |level: usize| repeat(22, &|n| format!(" xmlns:p{level}x{n}=\"urn:x\""));
        let far = repeat(20, &|n| format!(" p0x{n}:b{n}=\"\""));
        let nested = |levels: usize, inner: &str| {
            let open = repeat(levels, &|level| format!("<x{}>", bound(level)));
            format!("{open}{inner}{}", "</x>".repeat(levels))
        };
        let listed: Vec<String> = (0..16).map(|n| format!("p0x{n}")).collect();
        let list = format!(
            "<ec:InclusiveNamespaces xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"{}\"/></ds:Transform>",
            listed.join(" ")
        );
        let with_list = |text: &str| {
            let (head, tail) = text.split_once("</ds:Transforms>").unwrap();
            let (head, _) = head.rsplit_once("</ds:Transform>").unwrap();
            format!("{head}{list}</ds:Transforms>{tail}")
        };
        let elements = "<x/>".repeat(1_900);
        [
            ("elements", before(&elements)),
            ("attributes", before(&repeat(330, &|_| format!("<x{}/>", wide(23))))),
            ("namespaces", before(&nested(1, &repeat(380, &|_| format!("<x{far}/>"))))),
            ("a prefix list", with_list(&before(&nested(1, &elements)))),
            ("declarations", before(&repeat(340, &|_| format!("<x{}/>", bound(0))))),
            ("references", before(&format!("<x>{}</x>", "&#65;".repeat(40_000)))),
            ("text", before(&format!("<x a=\"{0}\">{0}</x>", "x&lt;\n".repeat(16_000)))),
            (
                "a certificate",
                m.replacen("<ds:X509Certificate>", &format!("<ds:X509Certificate>{}", "AAAA".repeat(50_000)), 1),
            ),
        ]
        .into_iter()
        .map(|(name, text)| (format!("heavy: {name}"), text))
        .chain([
            ("too many attributes".to_owned(), before(&repeat(400, &|_| format!("<x{}/>", wide(23))))),
            ("too many namespaces".to_owned(), before(&nested(2, &elements))),
        ])
        .collect()
    }

    /// Other times, audiences, recipients, names under the same signature.
    pub fn said(&self) -> Mutants {
        if matches!(self.kind, Kind::LogoutRequest | Kind::LogoutResponse) {
            return self.said_of_logout();
        }
        let time = |seconds: i64| instant::text(NOW.plus(seconds));
        let mut all: Mutants = [
            ("NotOnOrAfter", self.message.replace(&time(300), &time(30_000))),
            ("NotBefore", self.message.replace(&time(-60), &time(-6_000))),
            ("SessionNotOnOrAfter", self.message.replace(&time(3600), &time(360_000))),
            ("audience", self.message.replace("Audience>https://sp.", "Audience>https://xx.")),
            ("name", self.swap("alice@corp", "admin@corp")),
            ("a space in the name", self.swap("alice@corp", "alice @corp")),
            ("group", self.swap(">sales<", ">admin<")),
            ("bearer", self.swap(":cm:bearer", ":cm:sender-vouches")),
            ("assertion issuer", {
                let (head, tail) = self.message.split_at(self.message.find("<saml:Assertion").unwrap());
                format!("{head}{}", tail.replacen("https://idp.", "https://xx.", 1))
            }),
            (
                "one more audience",
                self.swap(
                    "<saml:AudienceRestriction>",
                    "<saml:AudienceRestriction><saml:Audience>https://xx</saml:Audience>",
                ),
            ),
            (
                "condition removed",
                self.message
                    .replace(part(&self.message, "<saml:AudienceRestriction>", "</saml:AudienceRestriction>"), ""),
            ),
        ]
        .into_iter()
        .map(|(name, text)| (format!("said: {name}"), text))
        .collect();
        let recipient = self.message.rfind("Recipient=\"https").unwrap();
        let (head, tail) = self.message.split_at(recipient);
        all.push(("said: recipient".to_owned(), format!("{head}{}", tail.replacen("https://sp", "https://xx", 1))));
        all
    }

    /// The same of a logout message.
    fn said_of_logout(&self) -> Mutants {
        let mut all = vec![
            ("destination", self.swap("Destination=\"https://sp", "Destination=\"https://xx")),
            ("identifier", self.swap(" ID=\"_r1\"", " ID=\"_r2\"").replace("#_r1", "#_r2")),
            ("time", self.swap(&instant::text(NOW), &instant::text(NOW.plus(60)))),
            ("name or issuer", self.swap("alice@corp", "admin@corp")),
        ];
        if self.kind == Kind::LogoutRequest {
            all.push(("session", self.swap(">_s1<", ">_s2<")));
        } else {
            all.push(("status", self.swap(":status:Success", ":status:Responder")));
            all.push(("request", self.swap("InResponseTo=\"_q1", "InResponseTo=\"_q2")));
        }
        all.into_iter().map(|(name, text)| (format!("said: {name}"), text)).collect()
    }
}
