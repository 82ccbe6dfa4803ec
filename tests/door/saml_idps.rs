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
        let tables = "\n[saml]\nkey_file = \"sp.key\"\ncertificate_file = \"sp.pem\"\nsign_metadata = true\n\n\
            [[saml_idp]]\nname = \"corp\"\ntitle = \"Corp\"\nmetadata_file = \"corp.xml\"\nexisting_users = true\n";
        let main = fs::read_to_string(gate.config()).unwrap();
        fs::write(gate.config(), main + tables).unwrap();
        gate.run();
        let url = format!("{}/oauth2/saml/metadata", gate.issuer());
        let ours = gate.agent().get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        fs::write(folder.join("sp.xml"), ours).unwrap();
        let serving = pysaml2().arg("serve").arg(&folder).arg(port.to_string()).env("SIGNS", signs).spawn().unwrap();
        let _idp = Idp(serving);
        assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "the IdP does not start");
        let told = gate.play("saml.mjs", &[("PASSWORD", super::browser::PASSWORD), ("IDP_NAME", "pysaml2")]);
        let audit = fs::read_to_string(gate.path("audit.log")).unwrap_or_default();
        assert!(told.contains("# fail 0") && !told.contains("# pass 0"), "{signs}: {audit}");
        assert!(audit.contains("\"event\":\"saml\"") && audit.contains("\"outcome\":\"signed_in\""), "{audit}");
    }
}
