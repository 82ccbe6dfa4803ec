//! Identity providers that nobody here wrote, in a real browser.
use super::process::{Gate, until};
use crate::saml_verify::pem;
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command},
};

/// A started IdP; it ends with the test.
struct Idp(Child);

impl Drop for Idp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pysaml2() -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/idp");
    let python = folder.join(".venv/bin/python");
    assert!(python.exists(), "tests/idp is not installed: run scripts/setup.sh test");
    let mut command = Command::new(python);
    command.arg(folder.join("pysaml2_idp.py"));
    command
}

/// A key of ours for the IdP or for the service provider: `name.key` and `name.pem`.
fn key(folder: &Path, name: &str) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&pair).unwrap();
    fs::write(folder.join(format!("{name}.key")), pem("PRIVATE KEY", &pair.serialize_der())).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
}

/// SimpleSAMLphp on `port`, with `folder` as its own; whom it signs in here is `issuer`.
fn simplesamlphp(folder: &Path, port: u16, issuer: &str, signs: &str) -> Idp {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/idp");
    let www = tests.join(".simplesamlphp/usr/share/simplesamlphp/www");
    assert!(www.exists(), "SimpleSAMLphp is not installed: run scripts/setup.sh test");
    fs::create_dir_all(folder.join("metadata")).unwrap();
    for file in ["config.php", "authsources.php", "metadata/saml20-idp-hosted.php", "metadata/saml20-sp-remote.php"] {
        fs::copy(tests.join("simplesamlphp").join(file), folder.join(file)).unwrap();
    }
    let log = fs::File::create(folder.join("php.log")).unwrap();
    let mut php = Command::new("php");
    php.args(["-S", &format!("127.0.0.1:{port}"), "-t"]).arg(www).env("SIMPLESAMLPHP_CONFIG_DIR", folder);
    php.env("PORT", port.to_string()).env("ISSUER", issuer).env("SIGNS", signs).env("PASSWORD", IDP_PASSWORD);
    let served = Idp(php.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("run scripts/setup.sh test"));
    assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "the IdP does not start");
    served
}

const IDP_PASSWORD: &str = "alice's at the IdP";

/// A gate that trusts the IdP of `conf/corp.xml`, with `more` in its table.
fn trust(gate: &Gate, more: &str) {
    let tables = format!(
        "\n[saml]\nkey_file = \"sp.key\"\ncertificate_file = \"sp.pem\"\nsign_metadata = true\n\n\
         [[saml_idp]]\nname = \"corp\"\ntitle = \"Corp\"\nmetadata_file = \"corp.xml\"\nexisting_users = true\n{more}"
    );
    fs::write(gate.config(), fs::read_to_string(gate.config()).unwrap() + &tables).unwrap();
}

/// Alice signs in there by Chromium.
fn signs_in(gate: &Gate, signs: &str, more: &[(&str, &str)]) {
    let told = gate.play("saml.mjs", &[&[("PASSWORD", super::browser::PASSWORD)], more].concat());
    let audit = fs::read_to_string(gate.path("audit.log")).unwrap_or_default();
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"), "{signs}: {audit}");
    assert!(audit.contains("\"event\":\"saml\"") && audit.contains("\"outcome\":\"signed_in\""), "{audit}");
}

#[test]
fn s50_s54_simplesamlphp_signs_people_in_whatever_it_signs() {
    for signs in ["assertion", "response", "both"] {
        let mut gate = Gate::prepare();
        super::browser::people(&gate, &["alice"]);
        let (folder, port) = (gate.path("idp"), super::process::port());
        fs::create_dir_all(&folder).unwrap();
        key(&folder, "idp");
        key(&gate.path("conf"), "sp");
        fs::copy(gate.path("conf/sp.pem"), folder.join("sp.pem")).unwrap();
        let _idp = simplesamlphp(&folder, port, &gate.issuer(), signs);
        let url = format!("http://127.0.0.1:{port}/saml2/idp/metadata.php");
        let theirs = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        fs::write(gate.path("conf/corp.xml"), theirs).unwrap();
        trust(&gate, "username = \"uid\"\n");
        gate.run();
        signs_in(&gate, signs, &[("IDP_NAME", "SimpleSAMLphp"), ("IDP_PASSWORD", IDP_PASSWORD)]);
    }
}

#[test]
fn s50_s54_pysaml2_signs_people_in_whatever_it_signs() {
    for signs in ["assertion", "response", "both"] {
        let mut gate = Gate::prepare();
        super::browser::people(&gate, &["alice"]);
        let folder = gate.path("conf");
        key(&folder, "idp");
        key(&folder, "sp");
        let port = super::process::port();
        let described = pysaml2().arg("metadata").arg(&folder).arg(port.to_string()).output().unwrap();
        assert!(described.status.success(), "{}", String::from_utf8_lossy(&described.stderr));
        fs::write(folder.join("corp.xml"), &described.stdout).unwrap();
        trust(&gate, "");
        gate.run();
        // Each listener begins by itself.
        assert!(until(|| TcpStream::connect(("127.0.0.1", gate.https)).is_ok()));
        let url = format!("{}/oauth2/saml/metadata", gate.issuer());
        let ours = gate.agent().get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        fs::write(folder.join("sp.xml"), ours).unwrap();
        let serving = pysaml2().arg("serve").arg(&folder).arg(port.to_string()).env("SIGNS", signs).spawn().unwrap();
        let _idp = Idp(serving);
        assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "the IdP does not start");
        signs_in(&gate, signs, &[("IDP_NAME", "pysaml2")]);
    }
}
