//! As much of JSON Schema 2020-12 as the API's document uses; anything else in a schema is a mistake of this file.
use serde_json::Value;

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The first thing in which `value` is not what `schema` says; `document` holds what it refers to.
pub fn holds(schema: &Value, value: &Value, document: &Value) -> Result<(), String> {
    let Some(rules) = schema.as_object() else {
        return if schema == true { Ok(()) } else { Err(format!("nothing may stand here: {value}")) };
    };
    let each =
        |schemas: &Value| -> Vec<_> { schemas.as_array().unwrap().iter().map(|s| holds(s, value, document)).collect() };
    for (rule, said) in rules {
        let kept = match rule.as_str() {
            "$ref" => {
                let pointer = said.as_str().unwrap().trim_start_matches('#');
                holds(document.pointer(pointer).ok_or(format!("{pointer} is not there"))?, value, document)?;
                true
            }
            "type" => match said {
                Value::String(one) => one == kind(value),
                several => several.as_array().unwrap().iter().any(|k| k == kind(value)),
            },
            "properties" => {
                for (name, inner) in said.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        holds(inner, value, document).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "required" => said.as_array().unwrap().iter().all(|n| value.get(n.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                let named = rules.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                let mut others = others.filter(|(name, _)| named.is_none_or(|n| !n.contains_key(*name)));
                others.try_for_each(|(name, v)| holds(said, v, document).map_err(|why| format!("{name}: {why}")))?;
                true
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items.into_iter().try_for_each(|item| holds(said, item, document))?;
                true
            }
            "anyOf" => each(said).iter().any(Result::is_ok),
            "minimum" => value.as_f64().is_none_or(|n| n >= said.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= said.as_f64().unwrap()),
            "description" | "title" | "format" | "default" => true,
            other => return Err(format!("the rule {other} is not known here")),
        };
        if !kept {
            return Err(format!("{rule} {said} does not hold of {value}"));
        }
    }
    Ok(())
}

#[test]
fn a_value_that_breaks_a_rule_is_found() {
    let document = serde_json::json!({"d": {"type": "object", "properties": {"n": {"type": ["integer", "null"]}},
        "required": ["n"], "additionalProperties": false}});
    let schema = serde_json::json!({"type": "array", "items": {"$ref": "#/d"}});
    let judged = |value: &str| holds(&schema, &serde_json::from_str(value).unwrap(), &document).is_ok();
    assert!(judged("[]") && judged(r#"[{"n": 1}, {"n": null}]"#));
    assert!(!judged("{}") && !judged("[{}]") && !judged(r#"[{"n": "1"}]"#) && !judged(r#"[{"n": 1, "m": 1}]"#));
}
