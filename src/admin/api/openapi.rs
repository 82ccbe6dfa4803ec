//! `/openapi.json`: the table of operations as OpenAPI 3.1, whose schemas are those of the answers' own types.
use super::{
    Method, READ_SCOPE, SCOPE,
    answer::Problem,
    operation::{ALL, Op, Operation},
};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// The document.
pub fn document(issuer: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    // What is sent may leave out what it does not set; an answer always says everything.
    let mut bodies = settings.clone().into_generator();
    let mut answers = settings.for_serialize().into_generator();
    let problem = answers.subschema_for::<Problem>();
    let mut paths = Map::new();
    for operation in ALL {
        let told = told(operation, &problem.clone().into(), &mut bodies, &mut answers);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = told;
    }
    let mut schemas = answers.take_definitions(true);
    schemas.extend(bodies.take_definitions(true));
    let scopes = json!({SCOPE: "Everything", READ_SCOPE: "What only tells"});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Portcullis admin API", "version": env!("CARGO_PKG_VERSION"),
            "description": "What an administrator sees and does while the gateway runs. Instants are seconds since the epoch. \
                Every PUT and DELETE may be repeated."},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"portcullis": {"type": "oauth2", "flows": {
            "clientCredentials": {"tokenUrl": format!("{issuer}/oauth2/token"), "scopes": scopes}}}}},
    })
}

fn told(operation: &Operation, problem: &Value, bodies: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
    let named = operation.path.split('/').filter_map(|s| s.strip_prefix('{')).map(|s| s.trim_end_matches('}'));
    let text = json!({"type": "string"});
    let mut parameters: Vec<Value> =
        named.map(|n| json!({"name": n, "in": "path", "required": true, "schema": text})).collect();
    let has_path = !parameters.is_empty();
    let mut ask = |name: &str, schema: &Value| parameters.push(json!({"name": name, "in": "query", "schema": schema}));
    if operation.paged {
        ask("after", &text);
        ask("limit", &json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 100}));
    }
    operation.query.iter().for_each(|name| ask(name, &text));
    let mut responses = Map::new();
    match operation.answer {
        Some(schema) => {
            let schema: Value = schema(answers).into();
            let content = json!({"application/json": {"schema": schema}});
            responses.insert("200".to_owned(), json!({"description": operation.summary, "content": content}));
        }
        None => drop(responses.insert("204".to_owned(), json!({"description": "Done, or so already"}))),
    }
    let open = operation.op == Op::Document;
    let writes = operation.method != Method::GET;
    let mut refused = |status: &str, what: &str| {
        let content = json!({"application/problem+json": {"schema": problem}});
        responses.insert(status.to_owned(), json!({"description": what, "content": content}));
    };
    if !open {
        refused("400", "The query or the body is malformed");
        refused("401", "No token that is valid here");
        refused("403", "The token's scope is not enough");
        refused("503", "Nothing can be decided now");
    }
    if has_path {
        refused("404", "What was named is not there");
    }
    if writes {
        refused("409", "Somebody else changed the same");
    }
    if operation.op == Op::RemoveApp {
        refused("422", "An app of the configuration");
    }
    if operation.body.is_some() {
        refused("415", "Not application/json");
        refused("422", "Not possible");
    }
    let scope = if writes { SCOPE } else { READ_SCOPE };
    let mut told = json!({"operationId": operation.id, "summary": operation.summary, "parameters": parameters,
        "responses": responses, "security": if open { json!([]) } else { json!([{"portcullis": [scope]}]) }});
    if let Some(schema) = operation.body {
        let schema: Value = schema(bodies).into();
        told["requestBody"] = json!({"required": false, "content": {"application/json": {"schema": schema}}});
    }
    told
}
