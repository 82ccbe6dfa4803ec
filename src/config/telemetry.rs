//! `[telemetry]` of `conf/portcullis.toml`: OpenTelemetry traces, off without this table.
use super::{mistake::Findings, store::reference};
use crate::telemetry::{Options, Target};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{net::IpAddr, time::Duration};

/// Traces of requests, sent to a collector by OTLP/HTTP (JSON). Read when the process starts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetryTable {
    /// The collector's URL for traces, such as `http://127.0.0.1:4318/v1/traces`; over https, unless it is on this machine.
    endpoint: String,
    /// Whether a collector on another machine may be spoken to in plain http.
    #[serde(default)]
    plain: bool,
    /// PEM of the authorities that the collector's certificate must come from; the public ones without. Relative to this
    /// file.
    ca_file: Option<String>,
    /// Headers that go with each message, such as a key of the collector's.
    #[serde(default)]
    header: Vec<HeaderTable>,
    /// The part of requests that is traced, from 0 to 1.
    #[serde(default = "hundredth")]
    ratio: f64,
    /// Whether the `sampled` flag of a caller's `traceparent` decides in place of `ratio`. Any caller can set it: for
    /// callers that are trusted.
    #[serde(default)]
    follow_parent: bool,
    /// `service.name` in the traces.
    #[serde(default = "name")]
    service_name: String,
    /// Traces that wait to be sent at most; what finds no room is dropped and counted.
    #[serde(default = "two_thousand")]
    queue: usize,
    /// Milliseconds that one message may take.
    #[serde(default = "five_seconds")]
    timeout_ms: u64,
}

/// One header; its value is a secret and stands elsewhere.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderTable {
    /// Its name.
    name: String,
    /// File that holds its value; relative to this file.
    value_file: Option<String>,
    /// Environment variable that holds it.
    value_env: Option<String>,
    /// Program and arguments that print it.
    value_command: Option<Vec<String>>,
}

fn hundredth() -> f64 {
    0.01
}

fn name() -> String {
    env!("CARGO_PKG_NAME").to_owned()
}

fn two_thousand() -> usize {
    2_048
}

fn five_seconds() -> u64 {
    5_000
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: TelemetryTable, found: &mut Findings<'_>) -> Options {
    let address = raw.endpoint.parse::<http::Uri>().ok();
    let scheme = address.as_ref().and_then(http::Uri::scheme_str);
    let host = address.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let named = address.as_ref().and_then(http::Uri::authority).is_some_and(|a| a.as_str().contains('@'));
    let here = host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match scheme {
        Some("https") if !host.is_empty() && !named => (),
        Some("http") if !host.is_empty() && !named => {
            if !here && !raw.plain {
                found.wrong(
                    "endpoint",
                    "https, unless the collector is on this machine or plain = true says that http will do",
                );
            }
            if raw.ca_file.is_some() {
                found.wrong("ca_file", "needs an https endpoint");
            }
        }
        _ => found.wrong(
            "endpoint",
            "an http or https URL without user and password, such as http://127.0.0.1:4318/v1/traces",
        ),
    }
    if !(0.0..=1.0).contains(&raw.ratio) {
        found.wrong("ratio", "between 0 and 1");
    }
    if raw.service_name.is_empty() || raw.service_name.len() > 255 {
        found.wrong("service_name", "between 1 and 255 bytes");
    }
    if !(1..=65_536).contains(&raw.queue) {
        found.wrong("queue", "between 1 and 65536");
    }
    if !(100..=60_000).contains(&raw.timeout_ms) {
        found.wrong("timeout_ms", "between 100 and 60000");
    }
    let mut headers = Vec::new();
    for header in raw.header {
        let taken = ["content-type", "content-length", "host", "transfer-encoding", "connection"];
        let name = header.name.to_ascii_lowercase();
        if http::HeaderName::try_from(&*name).is_err() || taken.contains(&&*name) {
            found.wrong("name", format!("{name} is no header that may be added"));
        }
        match reference(found, "value", [header.value_file, header.value_env], header.value_command) {
            Some(place) => headers.push((name, place)),
            None => found.wrong("header", format!("{name} needs one of value_file, value_env and value_command")),
        }
    }
    let authorities = raw.ca_file.map(|file| {
        let read = super::certificate::authorities(&found.folder().join(&file)).map_err(|why| format!("{file}: {why}"));
        found.or("ca_file", read, Vec::new())
    });
    let timeout = Duration::from_millis(raw.timeout_ms);
    Options {
        target: Target { endpoint: raw.endpoint, headers, timeout, authorities },
        ratio: raw.ratio,
        follow: raw.follow_parent,
        service: raw.service_name,
        queue: raw.queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::parse;
    use std::path::Path;

    #[test]
    fn every_mistake_is_told_with_its_line_and_key() {
        let file = Path::new("p.toml");
        let told = |text: &str| {
            let mut found = Findings::of(file, text);
            let read = read(parse(file, text).unwrap(), &mut found);
            (read, found.mistakes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (options, mistakes) = told("endpoint = \"http://[::1]:4318/v1/traces\"\n");
        assert!(mistakes.is_empty() && options.queue == 2048 && !options.follow, "{mistakes:?}");
        for sound in ["http://localhost:4318/", "https://collector.example/v1/traces"] {
            assert!(told(&format!("endpoint = \"{sound}\"\n")).1.is_empty(), "{sound}");
        }
        assert!(told("endpoint = \"http://10.0.0.1:4318/v1/traces\"\nplain = true\n").1.is_empty());
        for wrong in ["http://10.0.0.1:4318/v1/traces", "ftp://localhost/", "https://u:p@collector.example/", "nowhere"]
        {
            assert!(told(&format!("endpoint = \"{wrong}\"\n")).1[0].starts_with("p.toml:1: endpoint: "), "{wrong}");
        }
        let text = "endpoint = \"http://localhost/\"\nratio = 1.5\nservice_name = \"\"\nqueue = 0\ntimeout_ms = 1\nca_file = \"x\"\n\
                    [[header]]\nname = \"host\"\n";
        let mut told = told(text).1;
        told.sort();
        let keys = ["2: ratio", "3: service_name", "4: queue", "5: timeout_ms", "6: ca_file", "7: header", "8: name"];
        for key in keys {
            assert!(told.iter().any(|m| m.starts_with(&format!("p.toml:{key}: "))), "{key} in {told:?}");
        }
    }
}
