//! Traces, as a collector gets them.
use super::process::{Gate, until};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A collector: what it was sent, header and body of each message.
#[derive(Clone)]
struct Collector {
    port: u16,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    connections: Arc<Mutex<usize>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Self { port, heard: Arc::default(), connections: Arc::default() };
        let theirs = own.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *theirs.connections.lock().unwrap() += 1;
                let theirs = theirs.clone();
                std::thread::spawn(move || while theirs.message(&stream).is_some() {});
            }
        });
        own
    }

    fn message(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        self.heard.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").ok()
    }

    fn spans(&self) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        let messages = heard.iter().map(|(_, body)| serde_json::from_str::<Value>(body).unwrap());
        messages.flat_map(|m| m["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()).collect()
    }

    fn named(&self, name: &str) -> Option<Value> {
        self.spans().into_iter().find(|span| span["name"] == name)
    }
}

fn attribute(span: &Value, name: &str) -> String {
    let found = span["attributes"].as_array().unwrap().iter().find(|a| a["key"] == name);
    let value = found.map(|a| &a["value"]).and_then(|v| v.get("stringValue").or(v.get("intValue")));
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn gate(collector: &Collector, more: &str) -> Gate {
    let mut gate = Gate::prepare();
    let table = format!(
        "[telemetry]\nendpoint = \"http://127.0.0.1:{}/v1/traces\"\n{more}\n[[telemetry.header]]\nname = \"x-key\"\nvalue_file = \"collector.key\"\n\n[server]",
        collector.port
    );
    gate.edit("conf/portcullis.toml", "[server]", &table);
    std::fs::write(gate.path("conf/collector.key"), "key-of-the-collector\n").unwrap();
    gate.run();
    gate
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traced_call(gate: &Gate, token: &str, flag: &str) -> String {
    let request = gate.agent().get(format!("{}/orders/7?code=query-secret", gate.issuer()));
    let request = request.header("authorization", format!("Bearer {token}"));
    let mut answer = request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flag}")).call().unwrap();
    assert_eq!(answer.status(), 200);
    let echoed: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    echoed["headers"]["traceparent"].as_str().unwrap().to_owned()
}

#[test]
fn a_traced_request_tells_of_gate_store_and_upstream_and_of_no_secret() {
    let collector = Collector::start();
    let mut gate = gate(&collector, "ratio = 1.0\nservice_name = \"edge\"\n");
    let assertion = gate.assertion();
    let fields = [("grant_type", super::process::GRANT), ("scope", "orders:read"), ("assertion", &*assertion)];
    let mut answer = gate.agent().post(format!("{}/oauth2/token", gate.issuer())).send_form(fields).unwrap();
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    let token = body["access_token"].as_str().unwrap().to_owned();
    let passed = traced_call(&gate, &token, "00");
    assert_eq!(gate.call("wrong-token"), 401);
    assert!(until(|| collector.spans().iter().any(|s| attribute(s, "http.response.status_code") == "401")));

    let route = "GET /orders/*";
    let server = collector.spans().into_iter().find(|s| s["name"] == route && s["traceId"] == TRACE);
    let server = server.unwrap_or_else(|| panic!("{:?}", collector.spans()));
    assert_eq!((&server["parentSpanId"], &server["kind"]), (&PARENT.into(), &2.into()));
    for (name, value) in [
        ("url.path", "/orders/7"),
        ("url.scheme", "https"),
        ("http.request.method", "GET"),
        ("http.route", "/orders/*"),
        ("http.response.status_code", "200"),
        ("portcullis.decision", "allow"),
        ("portcullis.reason", "ok"),
        ("server.address", "localhost"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(&server, name), value, "{name}");
    }
    let upstream = collector.spans().into_iter().find(|s| s["traceId"] == TRACE && s["kind"] == 3).unwrap();
    assert_eq!(upstream["parentSpanId"], server["spanId"]);
    assert_eq!(attribute(&upstream, "server.port"), gate.example.to_string());
    let expected = format!("00-{TRACE}-{}-01", upstream["spanId"].as_str().unwrap());
    assert_eq!(passed, expected, "the upstream's parent is the call to it");
    let nanos = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos(&server, "startTimeUnixNano") <= nanos(&upstream, "startTimeUnixNano"));
    assert!(nanos(&upstream, "startTimeUnixNano") <= nanos(&upstream, "endTimeUnixNano"));

    let grant = collector.named(&format!("token {}", super::process::GRANT)).unwrap();
    assert_eq!(attribute(&grant, "oauth.client_id"), "orders-robot");
    assert_eq!(attribute(&grant, "portcullis.outcome"), "issued");
    let commit = collector.named("commit").unwrap();
    assert_eq!((&commit["parentSpanId"], &commit["traceId"]), (&grant["spanId"], &grant["traceId"]));
    assert_eq!((&*attribute(&commit, "db.system.name"), commit["kind"].as_u64()), ("sqlite", Some(3)));
    let above = collector.spans().into_iter().find(|s| s["spanId"] == grant["parentSpanId"]).unwrap();
    assert_eq!((&above["kind"], attribute(&above, "url.path").as_str()), (&2.into(), "/oauth2/token"));
    assert!(above.get("parentSpanId").is_none(), "begun here");
    let refused = collector.spans().into_iter().find(|s| attribute(s, "http.response.status_code") == "401").unwrap();
    assert_eq!(attribute(&refused, "portcullis.reason"), "invalid_token");

    // What has just ended is sent before the process ends.
    let before = collector.spans().len();
    traced_call(&gate, &token, "01");
    gate.signal("-TERM");
    gate.child.take().unwrap().wait().unwrap();
    assert!(collector.spans().len() >= before + 2, "flushed at the end");
    let heard = collector.heard.lock().unwrap().clone();
    assert!(heard.iter().all(|(head, _)| head.contains("x-key: key-of-the-collector")), "{heard:?}");
    for secret in [&*token, &*assertion, "query-secret", "wrong-token", "alice", "key-of-the-collector"] {
        assert!(heard.iter().all(|(_, body)| !body.contains(secret)), "{secret}");
    }
    assert!(heard.iter().all(|(_, body)| body.contains("{\"stringValue\":\"edge\"}")), "service.name");
}

#[test]
fn tracing_is_off_by_default_and_a_ratio_of_nought_follows_only_a_caller_that_is_trusted() {
    let collector = Collector::start();
    let off = Gate::start();
    let given = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(traced_call(&off, &off.token(), "01"), given, "passed on as it came");
    let none = gate(&collector, "ratio = 0.0\n");
    assert_eq!(traced_call(&none, &none.token(), "01"), given, "a caller cannot have itself traced");
    let begun =
        none.agent().get(format!("{}/status", none.issuer())).call().unwrap().body_mut().read_to_string().unwrap();
    let begun: Value = serde_json::from_str(&begun).unwrap();
    assert!(begun["headers"]["traceparent"].as_str().unwrap().ends_with("-00"), "{begun}");
    none.signal("-TERM");
    drop(none);
    assert_eq!(*collector.connections.lock().unwrap(), 0);
    let follows = gate(&collector, "ratio = 0.0\nfollow_parent = true\n");
    let token = follows.token();
    traced_call(&follows, &token, "00");
    traced_call(&follows, &token, "01");
    assert!(until(|| collector.named("GET /orders/*").is_some()));
    assert_eq!(collector.spans().len(), 2, "{:?}", collector.spans());
    let told = follows.admin("GET", "/metrics").1;
    assert!(told.contains("portcullis_trace_spans_total{outcome=\"sent\"} 2"), "{told}");
}

#[test]
fn a_collector_that_hangs_holds_no_request_up_and_a_mistake_is_told_in_words() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gate = Gate::prepare();
    let table = |more: &str| {
        format!(
            "[telemetry]\nendpoint = \"http://127.0.0.1:{}/\"\n{more}\n[server]",
            silent.local_addr().unwrap().port()
        )
    };
    gate.edit("conf/portcullis.toml", "[server]", &table("ratio = 1.0\nqueue = 1\ntimeout_ms = 60000\n"));
    gate.run();
    let agent = gate.agent();
    let get = || agent.get(format!("{}/status", gate.issuer())).call().unwrap().status().as_u16();
    assert!((0..300).all(|_| get() == 200));
    let dropped = |text: String| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("portcullis_trace_spans_total{outcome=\"dropped\"} ").map(str::to_owned));
        line.unwrap().parse::<u64>().unwrap()
    };
    // While a message hangs, another gathers and one waits.
    assert!(until(|| {
        get();
        dropped(gate.admin("GET", "/metrics").1) > 0
    }));
    gate.edit("conf/portcullis.toml", "ratio = 1.0", "ratio = 7.0");
    let told = gate.command(&["check"], "");
    let told = super::process::text(&told.stdout) + &super::process::text(&told.stderr);
    assert!(told.contains("ratio: between 0 and 1"), "{told}");
}
