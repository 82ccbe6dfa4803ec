//! Assertions as programs written for Salesforce sign them.
use crate::{model::Client, policy::salesforce::Salesforce, token::assertion::Rules};
use serde_json::Value;

/// Accepted difference of clocks, seconds.
const SKEW: i64 = 180;
/// From here on `exp` counts milliseconds: the year 5138 in seconds.
const MILLISECONDS: i64 = 100_000_000_000;

/// What holds for those of `client` here: our own addresses with and without slash, the aliases of its own file or else those
/// for everybody, clocks 180 seconds apart.
pub fn rules(issuer: &str, settings: &Salesforce, client: Option<&Client>, standard: &[String]) -> Rules {
    let own = [issuer, &settings.instance_url];
    let addresses = own.iter().flat_map(|o| [(*o).to_owned(), format!("{o}/"), format!("{o}{}", super::TOKEN)]);
    let aliases = client.and_then(|c| c.salesforce.audiences.as_ref()).unwrap_or(&settings.audiences);
    let audiences = standard.iter().cloned().chain(addresses).chain(aliases.iter().cloned()).collect();
    Rules { audiences, ahead: SKEW, late: SKEW, read: plain }
}

/// The same claims as RFC 7523 has them: `exp` as a number of seconds, the user in `sub`.
fn plain(claims: &mut Value) {
    let Some(all) = claims.as_object_mut() else { return };
    for name in ["exp", "iat", "nbf"] {
        let number = match all.get(name) {
            Some(Value::String(digits)) => digits.parse::<i64>().ok(),
            Some(number) => number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)),
            None => None,
        };
        if let Some(number) = number {
            let seconds = if number > MILLISECONDS { number / 1000 } else { number };
            all.insert(name.to_owned(), seconds.into());
        }
    }
    if !all.contains_key("sub")
        && let Some(user) = all.remove("prn")
    {
        all.insert("sub".to_owned(), user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn s34_times_as_text_or_in_milliseconds_and_the_user_in_prn_are_read() {
        let read = |mut claims: Value| {
            plain(&mut claims);
            claims
        };
        assert_eq!(read(json!({"exp": "1700000000", "prn": "a"})), json!({"exp": 1_700_000_000, "sub": "a"}));
        assert_eq!(read(json!({"exp": 1_700_000_000_123_i64})), json!({"exp": 1_700_000_000}));
        assert_eq!(
            read(json!({"exp": "soon", "sub": "a", "prn": "b"})),
            json!({"exp": "soon", "sub": "a", "prn": "b"})
        );
    }
}
