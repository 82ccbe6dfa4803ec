//! Requests of Salesforce's clients as the engine reads them.
use super::Door;
use crate::{
    policy::Policy,
    provider::{
        Cx,
        error::{Code, OAuthError},
        paths,
    },
};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};

const FORM: &str = "application/x-www-form-urlencoded";
/// Most parameters that are read, as on the standard paths.
const MOST: usize = 64;

type Pairs = Vec<(String, String)>;

fn bad(why: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, why)
}

fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
}

fn pairs(encoded: &[u8]) -> Pairs {
    form_urlencoded::parse(encoded).into_owned().collect()
}

/// Names of the hybrid flow, and the flow whose engine serves them.
const HYBRID: [(&str, &str, &str); 3] = [
    ("grant_type", "hybrid_auth_code", "authorization_code"),
    ("grant_type", "hybrid_refresh", "refresh_token"),
    ("response_type", "hybrid_token", "token"),
];

/// The hybrid flow in plain names, where the app that is named has it.
fn plain(all: &mut Pairs, client: Option<&str>, policy: &Policy) {
    if !client.and_then(|id| policy.clients.get(id)).is_some_and(|client| client.salesforce.hybrid) {
        return;
    }
    for (name, value) in all {
        if let Some((.., plain)) = HYBRID.iter().find(|(key, hybrid, _)| name == key && value == hybrid) {
            (*plain).clone_into(value);
        }
    }
}

/// The parameters of an authorization request: a challenge without method is S256 here, and `immediate` is a prompt.
pub fn authorization(query: &[u8], policy: &Policy) -> String {
    let mut all = pairs(query);
    let client = value(&all, "client_id").map(str::to_owned);
    plain(&mut all, client.as_deref(), policy);
    all.retain(|(name, value)| name != "code_challenge_method" || !value.is_empty());
    if value(&all, "code_challenge").is_some() && value(&all, "code_challenge_method").is_none() {
        all.push(("code_challenge_method".to_owned(), "S256".to_owned()));
    }
    if value(&all, "immediate") == Some("true") {
        all.retain(|(name, _)| name != "prompt");
        all.push(("prompt".to_owned(), "none".to_owned()));
    }
    all.retain(|(name, _)| name != "immediate" && name != "display");
    form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish()
}

/// The same request with a form as its body and one kind of client credentials, on its standard path.
pub async fn form(door: Door, mut request: Request<Bytes>, cx: &Cx) -> Result<Request<Bytes>, OAuthError> {
    let mut all = body(&request).await?;
    let query = pairs(request.uri().query().unwrap_or_default().as_bytes());
    // What these clients add to the address and nobody reads.
    let query: Pairs = query.into_iter().filter(|(name, _)| name != "device_id" && name != "format").collect();
    if !query.is_empty() {
        let id = value(&query, "client_id").or(value(&all, "client_id"));
        let client = id.and_then(|id| cx.policy.clients.get(id));
        // S16: in an address they end up in other people's logs.
        if !all.is_empty() || !client.is_some_and(|c| c.salesforce.query_parameters) {
            return Err(bad("parameters belong in the body, not in the query"));
        }
        all = query;
    }
    let in_body = value(&all, "client_secret").is_some() || value(&all, "client_assertion").is_some();
    let basic = |v: &HeaderValue| v.as_bytes().get(..6).is_some_and(|s| s.eq_ignore_ascii_case(b"basic "));
    if in_body || !request.headers().get(AUTHORIZATION).is_some_and(basic) {
        request.headers_mut().remove(AUTHORIZATION);
    }
    let mut path = match door {
        Door::Introspect => paths::INTROSPECT,
        _ => paths::TOKEN,
    };
    if door == Door::Token {
        let client = value(&all, "client_id").map(str::to_owned);
        plain(&mut all, client.as_deref(), &cx.policy);
        if value(&all, "response_type") == Some("device_code") {
            path = paths::DEVICE_AUTHORIZATION;
        } else if value(&all, "grant_type") == Some("device") {
            rename(&mut all, "code", "device_code");
            all.retain(|(name, _)| name != "grant_type");
            all.push(("grant_type".to_owned(), "urn:ietf:params:oauth:grant-type:device_code".to_owned()));
        }
    }
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
    *request.body_mut() = Bytes::from(encoded);
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    Ok(request)
}

fn rename(all: &mut Pairs, from: &str, to: &str) {
    for (name, _) in all.iter_mut().filter(|(name, _)| name == from) {
        to.clone_into(name);
    }
}

/// The parameters of the body, in either encoding; an empty body has none, whatever its type.
pub async fn body(request: &Request<Bytes>) -> Result<Pairs, OAuthError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if request.body().is_empty() {
        return Ok(Pairs::new());
    }
    if essence.eq_ignore_ascii_case(FORM) {
        let all = pairs(request.body());
        return if all.len() > MOST { Err(bad("too many parameters")) } else { Ok(all) };
    }
    let malformed = |_| bad("the multipart body is malformed");
    let boundary = multer::parse_boundary(kind)
        .map_err(|_| bad("Content-Type must be application/x-www-form-urlencoded or multipart/form-data"))?;
    let mut parts = multer::Multipart::with_reader(&request.body()[..], boundary);
    let mut all = Pairs::new();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        if all.len() == MOST {
            return Err(bad("too many parameters"));
        }
        let name = part.name().map(str::to_owned).ok_or_else(|| bad("a part has no name"))?;
        let text = String::from_utf8(part.bytes().await.map_err(malformed)?.to_vec());
        all.push((name, text.map_err(|_| bad("a parameter is not valid UTF-8"))?));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_a_challenge_without_method_is_s256_here_and_immediate_a_prompt() {
        let authorization = |query: &[u8]| authorization(query, &Policy::default());
        assert_eq!(authorization(b"code_challenge=x"), "code_challenge=x&code_challenge_method=S256");
        let empty = authorization(b"code_challenge=x&code_challenge_method=");
        assert_eq!(empty, "code_challenge=x&code_challenge_method=S256");
        assert_eq!(
            authorization(b"code_challenge=x&code_challenge_method=plain"),
            "code_challenge=x&code_challenge_method=plain"
        );
        assert_eq!(authorization(b"immediate=true&prompt=login&display=touch"), "prompt=none");
        assert_eq!(authorization(b"immediate=false&prompt=login"), "prompt=login");
    }

    #[tokio::test]
    async fn a_multipart_body_is_read_and_a_broken_one_refused() {
        let request = |body: &'static str| {
            let request = Request::post("/").header(CONTENT_TYPE, "multipart/form-data; boundary=b");
            request.body(Bytes::from_static(body.as_bytes())).unwrap()
        };
        let good = "--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nx y\r\n--b--\r\n";
        assert_eq!(body(&request(good)).await.unwrap(), [("a".to_owned(), "x y".to_owned())]);
        for broken in
            ["--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nx", "--b\r\n\r\nx\r\n--b--\r\n", "nothing"]
        {
            assert!(body(&request(broken)).await.is_err(), "{broken}");
        }
    }
}
