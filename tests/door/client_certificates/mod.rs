//! Certificates of clients (RFC 8705), through real handshakes: who is asked, who gets in, what they get, and what a
//! token that is bound to a certificate opens.
mod handshake;
mod tokens;

use super::process::{Gate, port, text};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use std::{fs, process::Command};

/// Whoever issues certificates to clients.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        Self { params, key: KeyPair::generate().unwrap() }
    }

    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }
}

/// What a client's certificate says.
pub fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(format!("{name}.clients.example").try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A gate with hosts that ask for certificates, and the clients that have some: `NAME.pem` holds chain and key.
pub struct House {
    pub gate: Gate,
    pub authority: Authority,
    /// A listener where everybody is asked.
    pub asking: u16,
}

impl House {
    pub fn start(routes: &str) -> Self {
        let gate = Gate::prepare();
        let house = Self { authority: Authority::new("Clients"), asking: port(), gate };
        fs::create_dir_all(house.gate.path("certs")).unwrap();
        fs::write(house.gate.path("certs/clients-ca.pem"), house.authority.pem()).unwrap();
        house.client("robot", Some(&house.authority), |_| {});
        house.client("other", Some(&house.authority), |_| {});
        house.client("own", None, |_| {});
        house.client("another", None, |_| {});
        let listen = format!("listen = [\"127.0.0.1:{}\"", house.gate.https);
        house.gate.edit("conf/portcullis.toml", &listen, &format!("{listen}, \"127.0.0.1:{}\"", house.asking));
        let tables = format!(
            "[[client_certificate]]\nhosts = [\"must.example\"]\nask = \"required\"\nca_files = [\"../certs/clients-ca.pem\"]\n\n\
             [[client_certificate]]\nhosts = [\"may.example\"]\nask = \"optional\"\nca_files = [\"../certs/clients-ca.pem\"]\n\
             self_signed = true\nendpoints = \"https://may.example:{}\"\n\n\
             [[client_certificate]]\nlisten = [\"127.0.0.1:{}\"]\nask = \"required\"\nself_signed = true\n\n\
             {routes}[[route]]\nname = \"orders\"",
            house.gate.https, house.asking
        );
        house.gate.edit("conf/portcullis.toml", "[[route]]\nname = \"orders\"", &tables);
        let app = |id: &str, more: &str| {
            let text = format!(
                "client_id = \"{id}\"\ngrants = [\"client_credentials\"]\nrun_as = \"alice\"\nscopes = [\"orders:read\"]\n\
                 approval = \"self\"\naudience = \"https://localhost:{}\"\n{more}\n",
                house.gate.https
            );
            fs::write(house.gate.path(&format!("conf/apps/{id}.toml")), text).unwrap();
        };
        let bound = "certificate_bound_access_tokens = true\n";
        app(
            "by-name",
            &format!("auth = \"tls_client_auth\"\n{bound}tls_client_auth = {{ san_dns = \"robot.clients.example\" }}"),
        );
        app("by-subject", "auth = \"tls_client_auth\"\ntls_client_auth = { subject_dn = \"CN=robot,O=Acme\" }");
        let keys = "keys = [{ pem_file = \"../../certs/own.pem\" }]";
        app("by-itself", &format!("auth = \"self_signed_tls_client_auth\"\ntoken_format = \"jwt\"\n{bound}{keys}"));
        let mut house = house;
        house.gate.run();
        house
    }

    /// Makes `certs/NAME.pem`, issued by `authority` or by itself.
    pub fn client(&self, name: &str, authority: Option<&Authority>, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = leaf(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = match authority {
            Some(authority) => params.signed_by(&key, &authority.issuer()),
            None => params.self_signed(&key),
        };
        let text = made.unwrap().pem() + &key.serialize_pem();
        fs::write(self.gate.path(&format!("certs/{name}.pem")), text).unwrap();
    }

    /// What curl gets of `host` with a client's certificate; `None` if there is no connection.
    pub fn get(&self, host: &str, client: Option<&str>, arguments: &[&str]) -> Option<(u16, String)> {
        self.ask(host, self.gate.https, client, arguments)
    }

    pub fn ask(&self, host: &str, port: u16, client: Option<&str>, arguments: &[&str]) -> Option<(u16, String)> {
        let mut curl = Command::new("curl");
        // The gate's own certificate is for localhost: whom clients trust is another matter.
        curl.args(["-sS", "-k", "--max-time", "20", "-w", "\n%{http_code}"]);
        curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1")]);
        if let Some(name) = client {
            curl.arg("--cert").arg(self.gate.path(&format!("certs/{name}.pem")));
        }
        let path = arguments.first().unwrap();
        curl.args(&arguments[1..]).arg(format!("https://{host}:{port}{path}"));
        let run = curl.output().unwrap();
        if !run.status.success() {
            return None;
        }
        let told = text(&run.stdout);
        let (body, status) = told.rsplit_once('\n').unwrap();
        Some((status.parse().unwrap(), body.to_owned()))
    }

    pub fn status(&self, host: &str, client: Option<&str>, arguments: &[&str]) -> Option<u16> {
        self.get(host, client, arguments).map(|(status, _)| status)
    }
}
