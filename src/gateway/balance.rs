//! Which of a balanced upstream's addresses a request takes, and what is learned there.
use super::ctx::Ctx;
use crate::policy::route::{Balance, Key, Rule, hash};
use pingora::{http::ResponseHeader, proxy::Session};
use std::time::Instant;

/// What a consistent hash begins with.
pub fn key(balance: &Balance, session: &Session, ctx: &Ctx) -> Option<u64> {
    let Rule::ConsistentHash(key) = &balance.rule else { return None };
    match key {
        Key::Address => Some(hash(&[ctx.address?.to_string().as_bytes()])),
        Key::Subject => Some(hash(&[ctx.admitted.as_ref()?.permit.opened()?.subject.as_bytes()])),
        Key::Header(name) => Some(hash(&[session.req_header().headers.get(name)?.as_bytes()])),
    }
}

/// Tells the balanced address how the request went there.
pub fn judge(ctx: &Ctx, well: bool) {
    let Some(taken) = &ctx.taken else { return };
    let balance = ctx.admitted.as_ref().and_then(|a| a.permit.route().upstream.balance.as_ref());
    match balance.and_then(|balance| balance.breaker.as_ref()) {
        Some(breaker) if !well => taken.failed(breaker, Instant::now()),
        _ => taken.succeeded(),
    }
}

/// Takes down what an answer says of the address; an interim one says nothing.
pub fn answered(ctx: &Ctx, response: &ResponseHeader) {
    if ctx.taken.is_none() || response.status.is_informational() {
        return;
    }
    let balance = ctx.admitted.as_ref().and_then(|a| a.permit.route().upstream.balance.as_ref());
    let breaker = balance.and_then(|balance| balance.breaker.as_ref());
    judge(ctx, !breaker.is_some_and(|b| b.statuses.contains(&response.status.as_u16())));
}
