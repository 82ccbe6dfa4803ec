//! Which requests are traced, and what is said of them.
use super::*;
use std::time::Duration;

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn tracer(ratio: f64, follow: bool, queue: usize) -> (Tracer, Arc<Metrics>) {
    let target = Target {
        // Nobody listens there.
        endpoint: "http://127.0.0.1:9/v1/traces".to_owned(),
        headers: Vec::new(),
        timeout: Duration::from_millis(200),
        authorities: None,
    };
    let options = Options { target, ratio, follow, service: "p".to_owned(), queue };
    let metrics = Metrics::new();
    (Tracer::start(options, Vec::new(), metrics.clone()).unwrap(), metrics)
}

#[test]
fn the_ratio_decides_and_a_callers_flag_only_where_it_is_followed() {
    let part = |tracer: &Tracer, given| {
        let numbers = (0_u64..1000).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        numbers.filter(|n| tracer.begin(GIVEN, given, *n).is_some()).count()
    };
    assert_eq!((part(&tracer(0.0, false, 8).0, true), part(&tracer(1.0, false, 8).0, true)), (0, 1000));
    let tenth = part(&tracer(0.1, false, 8).0, true);
    assert!((80..=120).contains(&tenth), "{tenth}");
    assert_eq!(part(&tracer(0.0, true, 8).0, true), 1000, "the caller's flag");
    assert!(tracer(1.0, true, 8).0.begin(&GIVEN.replace("-01", "-00"), true, u64::MAX).is_none(), "the caller's flag");
    assert!(tracer(1.0, true, 8).0.begin(&GIVEN.replace("-01", "-00"), false, u64::MAX).is_some(), "begun here");
}

#[tokio::test]
async fn spans_form_a_tree_under_the_callers_and_one_request_has_no_more_than_its_share() {
    let (tracer, metrics) = tracer(1.0, false, 8);
    let trace = tracer.begin(GIVEN, true, u64::MAX).unwrap();
    let told = |name: &'static str| move |_: &()| (false, Cow::Borrowed(name), vec![("n", 7_i64.into())]);
    within(Some(&trace), span(INTERNAL, span(CLIENT, async {}, told("inner")), told("outer"))).await;
    trace.server("GET".to_owned(), true, Vec::new());
    let shared = trace.here.spans.clone();
    let batch =
        otlp::Batch { id: shared.id.clone(), spans: std::mem::take(&mut shared.gathered.lock().unwrap().spans) };
    let message: serde_json::Value = serde_json::from_str(&otlp::message("p", &[batch])).unwrap();
    let spans = &message["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let [inner, outer, server] = [&spans[0], &spans[1], &spans[2]];
    assert_eq!((&inner["name"], &inner["attributes"][0]["value"]["intValue"]), (&"inner".into(), &"7".into()));
    assert_eq!((&inner["parentSpanId"], &outer["parentSpanId"]), (&outer["spanId"], &server["spanId"]));
    assert_eq!((&server["parentSpanId"], &server["status"]["code"]), (&"00f067aa0ba902b7".into(), &2.into()));
    assert_eq!(server["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    for _ in 0..100 {
        within(Some(&trace), span(CLIENT, async {}, told("one of many"))).await;
    }
    trace.server("GET".to_owned(), false, Vec::new());
    tracer.end(&trace);
    assert_eq!(metrics.trace_spans.with_label_values(&["dropped"]).get(), 100 - (MOST_SPANS as u64 - 1));
}

#[test]
fn a_collector_that_is_gone_holds_nobody_up_and_what_finds_no_room_is_counted() {
    let (tracer, metrics) = tracer(1.0, false, 2);
    let count = |outcome: &str| metrics.trace_spans.with_label_values(&[outcome]).get();
    for _ in 0..1000 {
        let trace = tracer.begin(GIVEN, true, u64::MAX).unwrap();
        trace.server("GET".to_owned(), false, Vec::new());
        tracer.end(&trace);
    }
    assert!(count("dropped") > 0);
    tracer.flush();
    assert_eq!(count("sent"), 0);
}
