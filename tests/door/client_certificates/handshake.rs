//! Who gets through a handshake, and which requests may follow it.
use super::{Authority, House};
use crate::{attacks::Recorder, process::until};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const VERSIONS: [&[&str]; 4] = [
    &["/status", "--http1.1"],
    &["/status", "--http2"],
    &["/status", "--tls-max", "1.2", "--http2"],
    &["/status", "--tls-max", "1.2", "--http1.1"],
];

#[test]
fn s66_a_handshake_asks_for_certificates_where_the_table_says_and_takes_only_those_it_trusts() {
    let house = House::start("");
    let stranger = Authority::new("Clients");
    house.client("stranger", Some(&stranger), |_| {});
    house.client("expired", Some(&house.authority), |c| {
        (c.not_before, c.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    });
    house.client("server", Some(&house.authority), |c| {
        c.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    // The certificate of one with the key of another.
    let certificate = fs::read_to_string(house.gate.path("certs/robot.pem")).unwrap();
    let key = fs::read_to_string(house.gate.path("certs/other.pem")).unwrap();
    let forged = certificate.split("-----BEGIN PRIVATE").next().unwrap().to_owned()
        + &key[key.find("-----BEGIN PRIVATE").unwrap()..];
    fs::write(house.gate.path("certs/forged.pem"), forged).unwrap();
    for arguments in VERSIONS {
        let get = |host, client| house.status(host, client, arguments);
        assert_eq!(get("localhost", None), Some(200), "{arguments:?}: where nobody asks");
        assert_eq!(get("localhost", Some("stranger")), Some(200), "and what is not asked for is not looked at");
        assert_eq!(get("must.example", Some("robot")), Some(200), "{arguments:?}");
        for client in [None, Some("stranger"), Some("expired"), Some("server"), Some("own"), Some("forged")] {
            assert_eq!(get("must.example", client), None, "{arguments:?}: {client:?} gets through no handshake");
        }
        for client in [None, Some("robot"), Some("own"), Some("stranger"), Some("expired")] {
            assert_eq!(get("may.example", client), Some(200), "{arguments:?}: {client:?}");
        }
        // By its listener, whatever the name; hosts that are named keep their own trust, and none is let in without.
        let ask = |host, client| house.ask(host, house.asking, client, arguments).map(|(status, _)| status);
        assert_eq!((ask("localhost", None), ask("localhost", Some("own"))), (None, Some(200)), "{arguments:?}");
        assert_eq!((ask("must.example", Some("own")), ask("may.example", None)), (None, None), "{arguments:?}");
    }
    // Nothing is resumed where a certificate was asked for: a second connection shows it again.
    let (authority, client) = (Some(house.gate.path("certs/ca.pem")), "robot");
    let mut kinds = Vec::new();
    let config = config(&house, client);
    for _ in 0..2 {
        let mut stream = connect(&house, &config, "must.example");
        assert!(request(&mut stream, "must.example").starts_with("HTTP/1.1 200"), "{authority:?}");
        kinds.push(stream.conn.handshake_kind());
    }
    assert!(!kinds.contains(&Some(rustls::HandshakeKind::Resumed)), "{kinds:?}");
}

#[test]
fn s62_s66_a_certificate_counts_for_the_host_of_its_handshake_and_no_header_stands_for_one() {
    let recorder = Recorder::start();
    let route = format!(
        "[[route]]\nname = \"seen\"\npath = \"/seen\"\npublic = true\nupstream.addresses = [\"{}\"]\n\n",
        recorder.address
    );
    let told = route.replace("seen", "told").replace("public", "client_cert = true\npublic");
    let route = told + &route;
    let house = House::start(&route);
    for version in ["--http1.1", "--http2"] {
        // SNI names a host that asks nobody; the request names one that does.
        for (sni, host) in [
            ("localhost", "must.example"),
            ("localhost", "MUST.example:443"),
            ("localhost", "must.example."),
            ("may.example", "must.example"),
            ("localhost", "may.example"),
            ("must.example", "may.example"),
        ] {
            for path in ["/seen", "/oauth2/token", "/.well-known/openid-configuration", "/nowhere"] {
                let told = house.get(sni, Some("robot"), &[path, version, "-H", &format!("Host: {host}")]).unwrap();
                assert_eq!(told.0, 421, "{version} {sni} {host}{path}: {told:?}");
                assert!(told.1.contains("misdirected_request"), "{told:?}");
            }
        }
        let address = house.get("127.0.0.1", Some("robot"), &["/seen", version, "-H", "Host: must.example"]);
        assert_eq!(address.unwrap().0, 421, "and without SNI");
        let elsewhere = house.get("must.example", Some("robot"), &["/seen", version, "-H", "Host: localhost"]);
        assert_eq!(elsewhere.unwrap().0, 200, "a host that asks nobody takes anybody");
    }
    assert_eq!(recorder.hits().len(), 2, "nothing that was told 421 went further");
    // What a proxy would say of a certificate, nobody may say of themselves.
    let headers = [
        "Client-Cert: :MIIB:",
        "Client_Cert_Chain: :MIIB:",
        "X-Client-Cert: MIIB",
        "X-Forwarded-Client-Cert: Hash=00",
        "X-SSL-Client-Verify: SUCCESS",
        "x_ssl_client_s_dn: CN=robot",
        "SSL-Client-Cert: MIIB",
        "X-ARR-ClientCert: MIIB",
    ];
    let mut arguments = vec!["/seen"];
    headers.iter().for_each(|h| arguments.extend(["-H", h]));
    assert_eq!(house.status("localhost", None, &arguments), Some(200));
    let hits = recorder.hits();
    let seen = hits.last().unwrap().headers.join("\n");
    assert!(!seen.contains("cert") && !seen.contains("ssl"), "S62: {seen}");
    // RFC 9440: where the route says so, of a certificate that an authority vouches for.
    let pem = std::fs::read_to_string(house.gate.path("certs/robot.pem")).unwrap();
    let der = pem.lines().skip(1).take_while(|line| !line.starts_with("-----")).collect::<String>();
    let forged = ["/told", "-H", "Client-Cert: :MIIB:", "-H", "Client-Cert-Chain: :MIIB:"];
    for (host, client, expected) in [
        ("must.example", Some("robot"), vec![format!(":{der}:")]),
        ("may.example", Some("own"), vec![]),
        ("may.example", None, vec![]),
        ("localhost", Some("robot"), vec![]),
    ] {
        assert_eq!(house.status(host, client, &forged), Some(200), "{host}");
        let hits = recorder.hits();
        let hit = hits.last().unwrap();
        assert_eq!(
            (hit.target(), hit.header("client-cert")),
            ("/told", expected.iter().map(|e| &**e).collect()),
            "{host}"
        );
        assert!(hit.header("client-cert-chain").is_empty(), "{hit:?}");
    }
    arguments[0] = "/oauth2/token";
    arguments.extend(["-d", "grant_type=client_credentials&client_id=by-name"]);
    assert_eq!(house.status("may.example", None, &arguments), Some(401), "and no header authenticates an app");
}

#[test]
fn f12_another_bundle_counts_for_the_next_connection_and_for_those_that_are_open() {
    let house = House::start("");
    let config = config(&house, "robot");
    let mut open = connect(&house, &config, "must.example");
    assert!(request(&mut open, "must.example").starts_with("HTTP/1.1 200"));
    let next = Authority::new("Clients, the next");
    house.client("newcomer", Some(&next), |_| {});
    let get = |client| house.status("must.example", Some(client), &["/status"]);
    assert_eq!((get("robot"), get("newcomer")), (Some(200), None));
    fs::write(house.gate.path("certs/clients-ca.pem"), next.pem()).unwrap();
    assert!(until(|| get("newcomer") == Some(200)), "the file is read anew by itself");
    assert_eq!(get("robot"), None, "the next handshake knows the old authority no more");
    assert!(request(&mut open, "must.example").starts_with("HTTP/1.1 421"), "nor does an open connection");
    // A bundle that does not read changes nothing, and says where.
    fs::write(house.gate.path("certs/clients-ca.pem"), "nothing").unwrap();
    let (status, body) = house.gate.admin("POST", "/reload");
    assert!(status == 422 && body.contains("portcullis.toml:") && body.contains("clients-ca.pem"), "{body}");
    assert_eq!(get("newcomer"), Some(200));
    // A revocation list.
    fs::write(house.gate.path("certs/clients-ca.pem"), house.authority.pem()).unwrap();
    house.client("revoked", Some(&house.authority), |c| c.serial_number = Some(4711.into()));
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(4000, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: 4711.into(),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&house.authority.issuer()).unwrap().pem().unwrap();
    fs::write(house.gate.path("certs/clients.crl"), list).unwrap();
    assert!(until(|| get("revoked") == Some(200)));
    let files = "ask = \"required\"\nca_files = [\"../certs/clients-ca.pem\"]";
    house.gate.edit("conf/portcullis.toml", files, &format!("{files}\ncrl_files = [\"../certs/clients.crl\"]"));
    assert!(until(|| get("revoked").is_none()), "S66: on the list");
    assert_eq!(get("robot"), Some(200));
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn config(house: &House, client: &str) -> std::sync::Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let host = fs::read(house.gate.path("certs/ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&host).unwrap()).unwrap();
    let pem = fs::read(house.gate.path(&format!("certs/{client}.pem"))).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&pem).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        roots.into(),
        rustls::crypto::aws_lc_rs::default_provider().into(),
    );
    let verifier = verifier.build().unwrap();
    let config = config.unwrap().dangerous().with_custom_certificate_verifier(std::sync::Arc::new(Anybody(verifier)));
    config.with_client_auth_cert(chain, key).unwrap().into()
}

fn connect(house: &House, config: &std::sync::Arc<rustls::ClientConfig>, host: &'static str) -> Tls {
    let session = rustls::ClientConnection::new(config.clone(), host.try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", house.gate.https)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    rustls::StreamOwned::new(session, socket)
}

/// One answer on a connection that stays open.
fn request(stream: &mut Tls, host: &str) -> String {
    write!(stream, "GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut all = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).unwrap();
        all.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|l| l.split("\r\n").next()?.parse::<usize>().ok());
        if count == 0 || length.is_some_and(|length| body.len() >= length) {
            return text;
        }
    }
}

/// Takes the gate's certificate for any name: it is for localhost alone.
#[derive(Debug)]
struct Anybody(std::sync::Arc<rustls::client::WebPkiServerVerifier>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        ocsp: &[u8],
        now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        let name = "localhost".try_into().unwrap();
        self.0.verify_server_cert(end_entity, intermediates, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
