//! Session ⇄ Provider: whole requests in, whole responses out.
use crate::model::ClientCertificate;
use bytes::{Bytes, BytesMut};
use http::{
    Request, Response,
    header::{CONTENT_LENGTH, EXPECT},
};
use pingora::{http::ResponseHeader, prelude::*, proxy::Session};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// Largest body that the authorization server reads, bytes.
const MAX_BODY: usize = 1 << 20;
const BODY_TIME: Duration = Duration::from_secs(10);
const UNWANTED_BODY: usize = 64 << 10;
const UNWANTED_TIME: Duration = Duration::from_millis(500);

/// Reads the request whole.
pub async fn read(session: &mut Session) -> Result<Request<Bytes>> {
    let address = session.client_addr().and_then(|a| a.as_inet()).map(|a| a.ip());
    read_within(session, (address, None), BODY_TIME).await
}

/// The same, of a client at `address` with this certificate, whose body must be there within `limit`.
pub async fn read_within(
    session: &mut Session,
    (address, certificate): (Option<IpAddr>, Option<Arc<ClientCertificate>>),
    limit: Duration,
) -> Result<Request<Bytes>> {
    let mut body = BytesMut::new();
    let headers = &session.req_header().headers;
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if said.is_some_and(|length: usize| length > MAX_BODY) {
        return Error::e_explain(HTTPStatus(413), "the body is too large");
    }
    // Who asks first waits for leave (RFC 9110 §10.1.1); what goes to an upstream, the upstream answers.
    let asks = headers.get(EXPECT).is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if asks && !session.is_http2() {
        session.write_continue_response().await?;
    }
    let read = async {
        while let Some(part) = session.read_request_body().await? {
            body.extend_from_slice(&part);
            if body.len() > MAX_BODY {
                return Error::e_explain(HTTPStatus(413), "the body is too large");
            }
        }
        Ok(())
    };
    tokio::time::timeout(limit.min(BODY_TIME), read)
        .await
        .map_err(|_| Error::explain(HTTPStatus(408), "the body came too slowly"))??;
    let head = session.req_header();
    let mut request = Request::new(body.freeze());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    if let Some(address) = address {
        request.extensions_mut().insert(crate::provider::ClientAddress(address));
    }
    if let Some(certificate) = certificate {
        request.extensions_mut().insert(certificate);
    }
    Ok(request)
}

/// Writes the response whole.
pub async fn send(session: &mut Session, response: Response<Bytes>) -> Result<()> {
    let (parts, body) = response.into_parts();
    let mut head = ResponseHeader::build(parts.status, None)?;
    for (name, value) in &parts.headers {
        head.append_header(name, value)?;
    }
    head.insert_header("content-length", body.len())?;
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body), true).await
}

/// Reads the rest of a small body that nobody wants: a stream that is reset behind its answer makes HTTP/2 clients
/// drop the answer.
pub async fn discard(session: &mut Session) {
    if !session.is_http2() || session.is_body_empty() {
        return;
    }
    let rest = async {
        let mut length = 0;
        while let Ok(Some(part)) = session.read_request_body().await {
            length += part.len();
            if length > UNWANTED_BODY {
                break;
            }
        }
    };
    // Whoever sends slower than that must live with the reset.
    let _ = tokio::time::timeout(UNWANTED_TIME, rest).await;
}
