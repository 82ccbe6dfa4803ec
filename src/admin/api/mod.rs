//! The admin API: JSON over HTTP, without sockets. A token of ours opens it, with an audience and scopes of its own.
mod access;
mod answer;
mod body;
mod openapi;
mod operation;

use super::{Failed, Here, Office};
use crate::{clock::Clock, log::Log, metrics::Metrics, policy::in_force::Kind, store::Store};
use answer::{Problem, json, nothing};
use body::{ApprovalBody, BlockBody, Ended, InitialBody, Initials};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use operation::{Found, Op, Query};
use serde_json::json;
use std::{net::IpAddr, sync::Arc};

/// Opens everything here.
pub const SCOPE: &str = "portcullis:admin";
/// Opens what only tells.
pub const READ_SCOPE: &str = "portcullis:admin:read";

/// Answers requests of administrators' programs.
pub struct Api {
    /// What acts are felt by.
    pub here: Here,
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Requests are counted here.
    pub metrics: Arc<Metrics>,
    /// The audit stream.
    pub audit: Log,
    /// `aud` of the tokens that open it.
    pub audience: String,
}

impl Api {
    /// Answers one request that came from `address`.
    pub async fn handle(&self, request: Request<Bytes>, address: Option<IpAddr>) -> Response<Bytes> {
        let (name, outcome) = match operation::find(request.method(), request.uri().path()) {
            Found::Operation(op, parts) => (op.id(), self.answer(op, &parts, &request, address).await),
            Found::MethodNotAllowed(allowed) => {
                // Who may not come in learns nothing of what there is.
                (
                    "none",
                    self.office(&request, (false, address)).await.and_then(|_| Err(Problem::not_allowed(&allowed))),
                )
            }
            Found::Nothing => (
                "none",
                self.office(&request, (false, address))
                    .await
                    .and_then(|_| Err(Problem::new(404, "there is no such path"))),
            ),
        };
        let response = outcome.unwrap_or_else(|problem| problem.response());
        self.metrics.admin_requests.with_label_values(&[name, response.status().as_str()]).inc();
        response
    }

    /// The one who asks, at work; refused without a token that may do this.
    async fn office(
        &self,
        request: &Request<Bytes>,
        (writes, address): (bool, Option<IpAddr>),
    ) -> Result<Office, Problem> {
        let now = self.clock.now();
        let policy = self.here.in_force.policy().load_full();
        let door = access::Door { audience: &self.audience, writes, address };
        let told = access::check(request.headers(), &policy, &self.here.tokens, &door, now);
        let by = told.inspect_err(|problem| {
            self.audit.write(json!({"event": "admin", "outcome": "refused", "through": "api",
                "detail": problem.detail, "path": request.uri().path(), "time": now}));
        })?;
        Ok(Office {
            policy,
            store: self.store.clone(),
            here: Some(self.here.clone()),
            audit: self.audit.clone(),
            by,
            through: "api",
            now,
        })
    }

    async fn answer(
        &self,
        op: Op,
        parts: &[String],
        request: &Request<Bytes>,
        address: Option<IpAddr>,
    ) -> Result<Response<Bytes>, Problem> {
        if op == Op::Document {
            let issuer = self.here.in_force.policy().load().issuer.clone();
            return Ok(json(StatusCode::OK, &openapi::document(&issuer)));
        }
        let office = self.office(request, (op.writes(), address)).await?;
        let query = Query::read(request, op)?;
        let (after, limit) = (query.after.as_str(), query.limit);
        let part = |n: usize| parts.get(n).map_or("", String::as_str);
        let (first, second) = (part(0), part(1));
        match op {
            Op::Document => Err(Problem::new(404, "there is no such path")),
            Op::Apps => found(office.apps(after, limit).await),
            Op::App => found(office.app(first).await),
            Op::RemoveApp => found(office.remove_app(first).await.map(|ended| Ended { ended })),
            Op::AppUsage => found(office.usage_of_app(first, after, limit).await),
            Op::BlockApp => {
                let body: BlockBody = body::read(request)?;
                done(office.block(Kind::Client, first, body.reason.as_deref()).await.map(drop))
            }
            Op::UnblockApp => done(office.unblock(Kind::Client, first).await.map(drop)),
            Op::AppAuthorizations => found(match office.app(first).await {
                Ok(_) => office.authorizations((Some(first), None), after, limit).await,
                Err(e) => Err(e),
            }),
            Op::RevokeApp => found(office.revoke_app(first).await.map(|ended| Ended { ended })),
            Op::Approvals => found(office.approvals(first, after, limit).await),
            Op::Approve => {
                let body: ApprovalBody = body::read(request)?;
                done(office.approve(first, second, body.scopes.map(|s| s.join(" ")).as_deref()).await)
            }
            Op::Withdraw => done(office.withdraw(first, second).await.map(drop)),
            Op::RevokePair => found(office.revoke_pair(first, second).await.map(|ended| Ended { ended })),
            Op::Users => found(office.users(after, limit).await),
            Op::User => found(office.user(first).await),
            Op::UserUsage => found(office.usage_of_user(first, after, limit).await),
            Op::BlockUser => {
                let body: BlockBody = body::read(request)?;
                done(office.block(Kind::User, first, body.reason.as_deref()).await.map(drop))
            }
            Op::UnblockUser => done(office.unblock(Kind::User, first).await.map(drop)),
            Op::UserAuthorizations => found(match office.user(first).await {
                Ok(_) => office.authorizations((None, Some(first)), after, limit).await,
                Err(e) => Err(e),
            }),
            Op::RevokeUser => found(office.revoke_user(first).await.map(|ended| Ended { ended })),
            Op::ResetSecondFactor => done(office.reset_second_factor(first).await.map(drop)),
            Op::Authorizations => {
                let of = (query.client_id.as_deref(), query.username.as_deref());
                found(office.authorizations(of, after, limit).await)
            }
            Op::Authorization => found(office.authorization(first).await),
            Op::Revoke => done(office.revoke(first).await),
            Op::Assets => {
                let of = (query.client_id.as_deref(), query.username.as_deref());
                found(office.assets(of, after, limit).await)
            }
            Op::Asset => found(office.asset(first).await),
            Op::BlockAsset => done(office.block_asset(first, true).await.map(drop)),
            Op::UnblockAsset => done(office.block_asset(first, false).await.map(drop)),
            Op::RemoveAsset => done(office.remove_asset(first).await.map(drop)),
            Op::InitialTokens => found(office.initial_tokens().await.map(|items| Initials { items })),
            Op::NewInitialToken => {
                let InitialBody { uses, lifetime, note } = body::read(request)?;
                found(office.new_initial_token(uses, lifetime, note.as_deref()).await)
            }
            Op::WithdrawInitialToken => done(office.withdraw_initial_token(first).await),
            Op::Acts => found(office.acts(after, limit).await),
        }
    }
}

fn found<T: serde::Serialize>(outcome: Result<T, Failed>) -> Result<Response<Bytes>, Problem> {
    Ok(json(StatusCode::OK, &outcome?))
}

fn done(outcome: Result<(), Failed>) -> Result<Response<Bytes>, Problem> {
    outcome?;
    Ok(nothing())
}
