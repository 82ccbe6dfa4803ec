//! Refresh (RFC 6749 §6) with rotation, reuse detection (RFC 9700 §4.14.2) and a rule for answers that were lost.
use super::{Grant, Held, Redeemed, TokenRequest, user_may};
use crate::{
    clock::Timestamp,
    model::{Authorization, RefreshPolicy, ScopeSet, authorization::Presented},
    provider::{
        Cx,
        error::{Code, OAuthError},
    },
    store::Expect,
    token::revocation::Ending,
};

/// The flow.
pub struct RefreshTokenGrant;

#[async_trait::async_trait]
impl Grant for RefreshTokenGrant {
    fn grant_type(&self) -> &'static str {
        "refresh_token"
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let text = request.params.require("refresh_token", "refresh_token is missing")?;
        let invalid = |detail: &str| OAuthError::new(Code::InvalidGrant, "expired access/refresh token").detail(detail);
        let client = request.client.ok_or_else(|| OAuthError::new(Code::InvalidClient, "client_id is missing"))?;
        let (id, secret) = Authorization::parse(text).ok_or_else(|| invalid("not a refresh token"))?;
        let record = cx.store.get(&Authorization::key(id), cx.now).await?.ok_or_else(|| invalid("ended or unknown"))?;
        let mut authorization: Authorization = super::stored(&record)?;
        if *authorization.client != *client.id {
            return Err(invalid("issued to another client"));
        }
        if authorization.key.is_some() && authorization.key != request.proof {
            return Err(invalid("bound to a key that the app has not shown"));
        }
        if authorization.certificate.is_some() && authorization.certificate != request.certificate {
            return Err(invalid("bound to a certificate that the app has not shown"));
        }
        let Some(refresh) = &mut authorization.refresh else { return Err(invalid("the authorization has none")) };
        let mut endings = Vec::new();
        let (presented, access_token) = (refresh.judge(secret), refresh.access_token.clone());
        let used = match presented {
            Presented::Previous | Presented::PreviousAgain => {
                cx.tokens.used(id, cx.now).await?.is_some_and(|u| u.generation >= refresh.generation)
            }
            Presented::Current | Presented::Spent | Presented::Unknown => false,
        };
        match presented {
            Presented::Current => {}
            // Its successor was lost on the way, or is in a thief's hands unused: either way it ends here.
            Presented::Previous if !used => {
                refresh.recover();
                endings.push(Ending::of(format!("token/{access_token}"), cx.now.plus(super::LONGEST_TOKEN)));
            }
            Presented::PreviousAgain if !used => return Err(invalid("used once more before")),
            Presented::Previous | Presented::PreviousAgain | Presented::Spent => {
                return Err(super::ended(id, invalid("replayed"), cx));
            }
            Presented::Unknown => return Err(invalid("unknown secret")),
        }
        let policy = client.interactive.refresh;
        if is_over(&authorization, policy, cx.now) {
            return Err(super::ended(id, invalid("its time is over"), cx));
        }
        user_may(client, &authorization.subject, cx).await?;
        let scopes = ScopeSet::parse(&authorization.scopes).unwrap_or_default().intersection(&client.scopes);
        Ok(Redeemed {
            client: client.clone(),
            subject: authorization.subject.clone().into(),
            scopes,
            changes: Vec::new(),
            endings,
            held: Some(Held {
                rotate: !policy.reusable,
                recovered: presented == Presented::Previous,
                nonce: None,
                expect: Expect::Version(record.version),
                authorization,
            }),
            terms: Default::default(),
        })
    }
}

/// Whether the app's policy has ended a refresh token by now.
pub fn is_over(authorization: &Authorization, policy: RefreshPolicy, now: Timestamp) -> bool {
    let over = |from: Timestamp, life: Option<i64>| life.is_some_and(|l| from.plus(l) <= now);
    policy.expires_at_once || over(authorization.created, policy.lifetime) || over(authorization.renewed, policy.idle)
}
