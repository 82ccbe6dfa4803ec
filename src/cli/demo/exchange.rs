//! Token exchange: a service acts onwards for a person; and a person's device gets a token that its own key has to open.
use super::{
    super::{proof::Holder, token},
    Tour,
    people::{ask_for, member, redeem},
    read, shortened, told,
    user_agent::UserAgent,
};
use crate::secret;
use std::process::Command;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// From her token to the service's, and to her device's; and the end of each.
pub fn play(alice: &mut UserAgent<'_>) -> Result<(), String> {
    let tour = alice.tour;
    let hers = sign_in(alice)?;
    let access = member(&hers, "access_token")?;
    let onwards = acts(tour, &access)?;
    let device = Device::new(tour)?;
    let token = device.register(&access)?;
    device.opens("42. The device calls, and proves its key", &token, true, 200)?;
    device.opens("43. A thief of the token has no key", &token, false, 401)?;
    device.removed(&token)?;
    let refresh = member(&hers, "refresh_token")?;
    let fields = [("client_id", "notebook"), ("token", &*refresh)];
    tour.post("46. She signs the app out", "/oauth2/revoke", &fields, 200)?;
    tour.call("47. So what the service got for it has ended too", "GET", &onwards, 401).map(drop)
}

/// She is signed in still; the app wants one scope more.
fn sign_in(alice: &mut UserAgent<'_>) -> Result<String, String> {
    let verifier = secret::random_token();
    let browser = "curl -L -b jar -c jar --cacert certs/ca.pem";
    let issuer = &alice.tour.issuer;
    let line = format!("{browser} '{issuer}/oauth2/authorize?client_id=notebook&scope=openid+api+...'");
    let page = alice.open(&ask_for(&verifier, "openid api offline_access orders:read"))?;
    let page = page.expect("37. The notebook wants to register devices too", &line, "value=\"allow\"")?;
    let back = alice.submit(&page, &[("decision", "allow")])?;
    let code = back.field("code").ok_or("no code came back")?;
    redeem(alice.tour, "38. She says yes", &code, &verifier)
}

/// The service exchanges her token: for reading alone, and the API sees who acts.
fn acts(tour: &Tour, access: &str) -> Result<String, String> {
    let key = tour.folder.join("certs/orders-robot.key");
    let signed = |subject: &str| token::assertion("dispatch", subject, &tour.issuer, &key, 120);
    let (itself, worker) = (signed("dispatch")?, signed("night-shift")?);
    let fields = [
        ("grant_type", GRANT),
        ("subject_token_type", ACCESS),
        ("subject_token", access),
        ("actor_token_type", JWT),
        ("actor_token", &*worker),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", &*itself),
    ];
    let answer = tour.post("39. A service exchanges her token for one of its own", "/oauth2/token", &fields, 200)?;
    let onwards = member(&answer, "access_token")?;
    let seen = tour.call("40. It acts for her, and the API sees both", "GET", &onwards, 200)?;
    for header in ["\"x-forwarded-user\":\"alice\"", "\"x-auth-actor\":\"night-shift\""] {
        if !seen.contains(header) {
            return Err(format!("the API did not see {header}: {seen}"));
        }
    }
    Ok(onwards)
}

/// A device with a key that never leaves it.
struct Device<'a> {
    tour: &'a Tour,
    holder: Holder,
}

impl<'a> Device<'a> {
    fn new(tour: &'a Tour) -> Result<Self, String> {
        let pair = rcgen::KeyPair::generate().map_err(|e| e.to_string())?;
        Ok(Self { tour, holder: Holder::of(&pair.serialize_pem())? })
    }

    /// An asset token: the device says what it is, signed with its key.
    fn register(&self, access: &str) -> Result<String, String> {
        let says = [("serial_number", "4711"), ("name", "Label printer")];
        let says = says.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let actor = self.holder.actor(says, &self.tour.issuer, 120)?;
        let fields = [
            ("grant_type", GRANT),
            ("client_id", "notebook"),
            ("subject_token_type", ACCESS),
            ("subject_token", access),
            ("actor_token_type", JWT),
            ("actor_token", &*actor),
        ];
        let answer = self.tour.post("41. Her printer gets an asset token", "/oauth2/token", &fields, 200)?;
        member(&answer, "access_token")
    }

    fn opens(&self, title: &str, token: &str, proven: bool, expected: u16) -> Result<String, String> {
        let url = format!("{}/telemetry/labels", self.tour.issuer);
        let request = self.tour.agent.get(&url).header("authorization", format!("DPoP {token}"));
        let (request, shown) = if proven {
            let proof = self.holder.proof("GET", &url, Some(token), None)?;
            (request.header("dpop", &proof), format!(" -H \"DPoP: {}\"", shortened(&proof)))
        } else {
            (request, String::new())
        };
        let bound = shortened(token);
        let line = format!("curl --cacert certs/ca.pem -H \"Authorization: DPoP {bound}\"{shown} {url}");
        told(title, &line, expected, read(request.call())?)
    }

    /// The administrator removes it while the gateway runs.
    fn removed(&self, token: &str) -> Result<(), String> {
        let config = self.tour.folder.join("conf/portcullis.toml");
        let run = |arguments: &[&str]| -> Result<String, String> {
            let program = std::env::current_exe().map_err(|e| e.to_string())?;
            let run = Command::new(program).args(arguments).arg("--config").arg(&config).output();
            let run = run.map_err(|e| e.to_string())?;
            let out = String::from_utf8_lossy(&run.stdout).trim().to_owned();
            if run.status.success() { Ok(out) } else { Err(String::from_utf8_lossy(&run.stderr).into_owned()) }
        };
        let listed = run(&["assets", "list"])?;
        println!("44. The administrator sees it\n   portcullis assets list\n   {listed}\n");
        let id = listed.split([':', ' ']).next().unwrap_or_default();
        run(&["assets", "remove", id])?;
        println!("   portcullis assets remove {id}\n");
        let url = format!("{}/telemetry/labels", self.tour.issuer);
        let ended = super::until(|| {
            let proof = self.holder.proof("GET", &url, Some(token), None).unwrap_or_default();
            let request = self.tour.agent.get(&url).header("authorization", format!("DPoP {token}"));
            read(request.header("dpop", proof).call()).is_ok_and(|(status, _)| status == 401)
        });
        ended.then_some(()).ok_or("a removed asset's token still opens the API")?;
        self.opens("45. And removes it: its token opens nothing", token, true, 401).map(drop)
    }
}
