//! Certificates whose time is over.
use super::*;

/// An authority, and the means to have a certificate for `localhost` signed that ends in that year.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    /// Puts one that is good until `year` in the place of what `gate` shows, by a rename for each file.
    fn sign(&self, gate: &Gate, year: i32) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        for (name, text) in [("localhost.key", key.serialize_pem()), ("localhost.pem", chain)] {
            let new = gate.path("certs").join(format!("{name}.new"));
            fs::write(&new, text).unwrap();
            fs::rename(&new, gate.path("certs").join(name)).unwrap();
        }
    }
}

/// The gateway's own certificate and its upstream's expire: refused by whoever checks, told in words, replaced while running.
pub fn expired() -> Result<Row, String> {
    let (mut inner, mut front, history, tries) = (Gate::start(), Gate::prepare(), History::default(), times(2, 20));
    let authority = Authority::new();
    let ca = inner.path("ca.pem");
    fs::write(&ca, authority.0.pem()).unwrap();
    let route = format!(
        "[[route]]\nname = \"inner\"\npath = \"/inner/*\"\npublic = true\nupstream = {{ addresses = [\"127.0.0.1:{}\"], \
         tls_name = \"localhost\", ca_file = \"{}\" }}\n\n[[route]]\nname = \"status\"",
        inner.https,
        ca.display()
    );
    front.edit("conf/portcullis.toml", "[[route]]\nname = \"status\"", &route);
    front.run();
    let call = || {
        let answer = front.agent().get(format!("{}/inner/x", front.issuer())).call();
        answer.map_or(0, |answer| answer.status().as_u16())
    };
    let told = |gate: &Gate| gate.ready()["certificates_expiring"].to_string();
    let (mut let_through, mut untold, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..tries {
        // A kept connection outlives its certificate: a new one is refused.
        kill(&mut inner);
        authority.sign(&inner, 2021);
        inner.run();
        assert!(until(|| call() == 502), "an upstream whose certificate has expired");
        for _ in 0..5 {
            let_through += usize::from(call() != 502);
        }
        untold += usize::from(!told(&inner).contains("expired at 2021-01-01"));
        let log = || fs::read_to_string(front.path("access.log")).unwrap().to_ascii_lowercase();
        if !until(|| log().contains("expired")) {
            println!("{}", log().lines().last().unwrap_or_default());
            untold += 1;
        }
        let metric = "portcullis_certificate_expires_timestamp_seconds{host=\"localhost\"} 1609459200";
        untold += usize::from(!inner.admin("GET", "/metrics").1.contains(metric));
        authority.sign(&inner, 2090);
        let back = Instant::now();
        // Nobody but the inner gateway's own routes decides what it answers; it answers.
        assert!(until(|| call() == 404 || call() == 401), "{}", call());
        slowest = slowest.max(back.elapsed());
        untold += usize::from(told(&inner) != "[]");
    }
    let words = format!("refused in words; {} ms after its replacement", slowest.as_millis());
    Ok(Row {
        unexpected: let_through + untold,
        ..row("F15 expired certificates, own and upstream's", tries, &history, words)
    })
}
