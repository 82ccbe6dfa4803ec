//! Every operation there is: one table that requests are answered by and the document is made from.
use super::{
    super::{
        act::Remembered,
        asset::Registered as Asset,
        registration::NewInitial,
        view::{Active, App, Approved, Page, Usage, User},
    },
    Bytes, Method, Request,
    answer::Problem,
    body::{ApprovalBody, BlockBody, Ended, InitialBody, Initials},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::collections::BTreeMap;

/// Items on a page without `limit`.
const LIMIT: usize = 100;
/// Items on a page at most.
const MOST: usize = 500;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One line of the table.
pub struct Operation {
    /// Which it is.
    pub op: Op,
    /// `operationId`.
    pub id: &'static str,
    /// The method.
    pub method: Method,
    /// The path; a `{name}` is one segment.
    pub path: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Names in the query beside those of paging.
    pub query: &'static [&'static str],
    /// Whether it answers in pages.
    pub paged: bool,
    /// What the body says, where it takes one.
    pub body: Option<SchemaOf>,
    /// What the answer says; 204 without.
    pub answer: Option<SchemaOf>,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

macro_rules! operations {
    ($($op:ident $id:literal $method:ident $path:literal $summary:literal {
        $(query $($query:literal),+;)? $(paged $paged:ty;)? $(body $body:ty;)? $(answer $answer:ty;)?
    })*) => {
        /// An operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op { $(#[doc = $summary] $op),* }

        /// All of them, in the order of the document.
        pub static ALL: &[Operation] = &[$(Operation {
            op: Op::$op,
            id: $id,
            method: Method::$method,
            path: $path,
            summary: $summary,
            query: &[$($($query),+)?],
            paged: [$({ let _ = std::marker::PhantomData::<$paged>; true },)? false][0],
            body: [$(Some(of::<$body> as SchemaOf),)? None][0],
            answer: [$(Some(of::<Page<$paged>> as SchemaOf),)? $(Some(of::<$answer> as SchemaOf),)? None][0],
        }),*];
    };
}

operations! {
    Document "document" GET "/openapi.json" "This document" {
        answer BTreeMap<String, serde_json::Value>;
    }
    Apps "listApps" GET "/v1/apps" "Connected apps, in the order of their identifiers" {
        paged App;
    }
    App "showApp" GET "/v1/apps/{client_id}" "One app, and how it was used" {
        answer App;
    }
    RemoveApp "removeApp" DELETE "/v1/apps/{client_id}" "Remove an app that registered itself, and all that users gave it" {
        answer Ended;
    }
    AppUsage "usageOfApp" GET "/v1/apps/{client_id}/usage" "Who used an app, and what was denied" {
        paged Usage;
    }
    BlockApp "blockApp" PUT "/v1/apps/{client_id}/block" "Block an app: it gets no token, and its tokens open nothing" {
        body BlockBody;
    }
    UnblockApp "unblockApp" DELETE "/v1/apps/{client_id}/block" "Take a block back; what the app's own file blocks stays blocked" {}
    AppAuthorizations "authorizationsOfApp" GET "/v1/apps/{client_id}/authorizations" "What users gave an app" {
        paged Active;
    }
    RevokeApp "revokeApp" DELETE "/v1/apps/{client_id}/authorizations" "End all that users gave an app, and every token of it" {
        answer Ended;
    }
    Approvals "listApprovals" GET "/v1/apps/{client_id}/approvals" "Who approved an app" {
        paged Approved;
    }
    Approve "approve" PUT "/v1/apps/{client_id}/approvals/{username}" "Record that a user approved an app" {
        body ApprovalBody;
    }
    Withdraw "withdrawApproval" DELETE "/v1/apps/{client_id}/approvals/{username}" "Take an approval back: nothing new is issued from it" {}
    RevokePair "revokePair" DELETE "/v1/apps/{client_id}/authorizations/{username}" "End what one user gave an app" {
        answer Ended;
    }
    Users "listUsers" GET "/v1/users" "Users of the configuration, and whom identity providers brought" {
        paged User;
    }
    User "showUser" GET "/v1/users/{username}" "One user" {
        answer User;
    }
    UserUsage "usageOfUser" GET "/v1/users/{username}/usage" "Which apps a user used" {
        paged Usage;
    }
    BlockUser "blockUser" PUT "/v1/users/{username}/block" "Block a user: no sign-in, no token, and tokens for them open nothing" {
        body BlockBody;
    }
    UnblockUser "unblockUser" DELETE "/v1/users/{username}/block" "Take a block back; who is not active in users.toml stays so" {}
    UserAuthorizations "authorizationsOfUser" GET "/v1/users/{username}/authorizations" "What a user gave apps" {
        paged Active;
    }
    RevokeUser "revokeUser" DELETE "/v1/users/{username}/authorizations" "End all that a user gave apps, every token for them, and their sessions" {
        answer Ended;
    }
    ResetSecondFactor "resetSecondFactor" DELETE "/v1/users/{username}/second_factor" "Take a user's second factor away; 204 too where there is none" {}
    Authorizations "listAuthorizations" GET "/v1/authorizations" "Authorizations that live" {
        query "client_id", "username";
        paged Active;
    }
    Authorization "showAuthorization" GET "/v1/authorizations/{id}" "One authorization" {
        answer Active;
    }
    Revoke "revoke" DELETE "/v1/authorizations/{id}" "End an authorization, and every token issued from it" {}
    Assets "listAssets" GET "/v1/assets" "Devices that people registered with asset tokens" {
        query "client_id", "username"; paged Asset;
    }
    Asset "showAsset" GET "/v1/assets/{id}" "One device" {
        answer Asset;
    }
    BlockAsset "blockAsset" PUT "/v1/assets/{id}/block" "Block a device: it gets no token, and its tokens open nothing" {}
    UnblockAsset "unblockAsset" DELETE "/v1/assets/{id}/block" "Let a device get tokens again" {}
    RemoveAsset "removeAsset" DELETE "/v1/assets/{id}" "Remove a device, and end its tokens" {}
    InitialTokens "listInitialTokens" GET "/v1/initial_tokens" "Initial access tokens that still let apps register" {
        answer Initials;
    }
    NewInitialToken "newInitialToken" POST "/v1/initial_tokens" "Make an initial access token, which lets apps register" {
        body InitialBody; answer NewInitial;
    }
    WithdrawInitialToken "withdrawInitialToken" DELETE "/v1/initial_tokens/{id}" "Take an initial access token back; apps that it let in stay" {}
    Acts "listActs" GET "/v1/acts" "What administrators did, the newest first" {
        paged Remembered;
    }
}

impl Op {
    fn line(self) -> &'static Operation {
        &ALL[self as usize]
    }

    /// `operationId`.
    pub fn id(self) -> &'static str {
        self.line().id
    }

    /// Whether it changes anything.
    pub fn writes(self) -> bool {
        self.line().method != Method::GET
    }
}

/// What a method and a path lead to.
pub enum Found {
    /// An operation, and the segments that its path leaves open, decoded.
    Operation(Op, Vec<String>),
    /// The path is known with these methods alone.
    MethodNotAllowed(Vec<Method>),
    /// Nothing.
    Nothing,
}

/// The operation for a request.
pub fn find(method: &Method, path: &str) -> Found {
    let mut allowed = Vec::new();
    for operation in ALL {
        let Some(parts) = fits(operation.path, path) else { continue };
        if operation.method == *method {
            return Found::Operation(operation.op, parts);
        }
        allowed.push(operation.method.clone());
    }
    if allowed.is_empty() { Found::Nothing } else { Found::MethodNotAllowed(allowed) }
}

fn fits(template: &str, path: &str) -> Option<Vec<String>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut parts = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parts),
            (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {
                parts.push(percent_encoding::percent_decode_str(segment).decode_utf8().ok()?.into_owned());
            }
            (Some(name), Some(segment)) if name == segment => {}
            _ => return None,
        }
    }
}

/// What the query says.
#[derive(Default)]
pub struct Query {
    /// Items come behind this one.
    pub after: String,
    /// Items at most.
    pub limit: usize,
    /// Only of this app.
    pub client_id: Option<String>,
    /// Only of this user.
    pub username: Option<String>,
}

impl Query {
    /// Reads what `op` takes; anything else in it is a mistake worth telling.
    pub fn read(request: &Request<Bytes>, op: Op) -> Result<Self, Problem> {
        let line = op.line();
        let mut query = Self { limit: LIMIT, ..Self::default() };
        for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
            let known = line.paged && ["after", "limit"].contains(&&*name) || line.query.contains(&&*name);
            match &*name {
                _ if !known => return Err(Problem::new(400, format!("{} takes no {name}", line.id))),
                "after" => query.after = value.into_owned(),
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=MOST).contains(n));
                    query.limit = limit.ok_or_else(|| Problem::new(400, format!("limit is between 1 and {MOST}")))?;
                }
                "client_id" => query.client_id = Some(value.into_owned()),
                _ => query.username = Some(value.into_owned()),
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_name_however_it_is_written() {
        let found = |path| match find(&Method::GET, path) {
            Found::Operation(op, parts) => format!("{} {}", op.id(), parts.join("|")),
            Found::MethodNotAllowed(methods) => format!("{methods:?}"),
            Found::Nothing => String::new(),
        };
        assert_eq!(found("/v1/apps/a%2Fb%20c/usage"), "usageOfApp a/b c");
        assert_eq!(found("/v1/apps/a/block"), "[PUT, DELETE]");
        assert_eq!((found("/v1/apps/"), found("/v1/apps/a/b/c"), found("/v1/apps/%FF")), Default::default());
        assert!(ALL.iter().enumerate().all(|(n, o)| o.op as usize == n));
    }
}
