//! OTLP/JSON: `ExportTraceServiceRequest` (OpenTelemetry Protocol 1.x, protobuf's JSON mapping; identifiers in hexadecimal,
//! 64-bit numbers as text).
use super::{Span, Value};
use serde_json::{Value as Json, json};

/// The spans of one request.
pub(super) struct Batch {
    /// The trace.
    pub id: String,
    /// Its spans.
    pub spans: Vec<Span>,
}

/// The message that carries `batches`.
pub(super) fn message(service: &str, batches: &[Batch]) -> String {
    let spans = batches.iter().flat_map(|batch| batch.spans.iter().map(|span| one(&batch.id, span)));
    let own = json!([
        attribute("service.name", &service.to_owned().into()),
        attribute("service.version", &env!("CARGO_PKG_VERSION").into()),
    ]);
    let scope = json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    let spans: Vec<Json> = spans.collect();
    json!({"resourceSpans": [{"resource": {"attributes": own}, "scopeSpans": [{"scope": scope, "spans": spans}]}]})
        .to_string()
}

fn one(trace: &str, span: &Span) -> Json {
    let attributes: Vec<Json> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut told = json!({
        "traceId": trace,
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.max(span.start).to_string(),
        "attributes": attributes,
        // An error, or nothing said: that all is well is for the caller to say.
        "status": if span.failed { json!({"code": 2}) } else { json!({}) },
    });
    if span.parent != 0 {
        told["parentSpanId"] = format!("{:016x}", span.parent).into();
    }
    told
}

fn attribute(name: &str, value: &Value) -> Json {
    match value {
        Value::Text(text) => json!({"key": name, "value": {"stringValue": text}}),
        Value::Number(number) => json!({"key": name, "value": {"intValue": number.to_string()}}),
    }
}
