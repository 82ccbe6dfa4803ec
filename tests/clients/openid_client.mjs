// openid-client of npm, unmodified, against every endpoint it knows.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'
import * as client from 'openid-client'
import { pause, UserAgent } from './agent.mjs'

const issuer = new URL(process.env.ISSUER)
const secret = process.env.SECRET
// Nothing listens there: the user agent only tells where it was sent.
const redirect_uri = 'http://127.0.0.1:49152/callback'
const orders = new URL('/orders/7', issuer)
const scope = 'openid profile email offline_access orders:read'

let notebook
let office

before(async () => {
  notebook = await client.discovery(issuer, 'notebook', undefined, client.None())
  office = await client.discovery(issuer, 'office', undefined, client.ClientSecretBasic(secret))
  // Signatures are checked against the JWKS, also those that came over TLS.
  client.enableNonRepudiationChecks(notebook)
  client.enableNonRepudiationChecks(office)
})

async function begin(config, more = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const checks = {
    pkceCodeVerifier: verifier,
    expectedState: client.randomState(),
    expectedNonce: client.randomNonce(),
    idTokenExpected: true,
  }
  const parameters = {
    redirect_uri,
    scope,
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  }
  return { checks, parameters }
}

async function signedIn(config, agent = new UserAgent()) {
  const { checks, parameters } = await begin(config)
  const { to } = await agent.go(client.buildAuthorizationUrl(config, parameters))
  return client.authorizationCodeGrant(config, to, checks)
}

async function gate(config, token) {
  try {
    const answer = await client.fetchProtectedResource(config, token, orders, 'GET')
    await answer.arrayBuffer()
    return answer.status
  } catch (error) {
    // It reads the challenge itself (RFC 6750 §3).
    assert.ok(error instanceof client.WWWAuthenticateChallengeError, String(error))
    assert.equal(error.cause[0].parameters.error, 'invalid_token')
    return error.status
  }
}

const refused = error => thrown => {
  assert.ok(thrown instanceof client.ResponseBodyError, String(thrown))
  assert.equal(thrown.error, error)
  return true
}

/// 401 with a challenge (RFC 6749 §5.2).
function unauthenticated(thrown) {
  assert.ok(thrown instanceof client.WWWAuthenticateChallengeError, String(thrown))
  assert.equal(thrown.status, 401)
  assert.equal(thrown.cause[0].scheme, 'basic')
  return true
}

test('discovery: what it says is what the rest of this file uses', () => {
  const metadata = office.serverMetadata()
  assert.equal(metadata.issuer, process.env.ISSUER)
  assert.ok(metadata.supportsPKCE())
  for (const endpoint of ['authorization', 'token', 'userinfo', 'introspection', 'revocation', 'end_session',
    'device_authorization', 'pushed_authorization_request']) {
    assert.equal(new URL(metadata[`${endpoint}_endpoint`]).origin, issuer.origin, endpoint)
  }
})

test('S4 S9 code with PKCE: ID tokens of both algorithms, userinfo, a call through the gate', async () => {
  for (const [config, algorithm] of [[notebook, 'RS256'], [office, 'ES256']]) {
    const tokens = await signedIn(config)
    const claims = tokens.claims()
    assert.equal(claims.sub, 'alice')
    assert.equal(claims.aud, config.clientMetadata().client_id)
    assert.ok(claims.auth_time && claims.sid && claims.nonce)
    assert.equal(JSON.parse(Buffer.from(tokens.id_token.split('.')[0], 'base64url')).alg, algorithm)
    const user = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
    assert.equal(user.email, 'alice@example.com')
    assert.equal(await gate(config, tokens.access_token), 200)
  }
})

test('a no comes back as an error that it understands', async () => {
  const { checks, parameters } = await begin(notebook, { prompt: 'consent' })
  const { to } = await new UserAgent().go(client.buildAuthorizationUrl(notebook, parameters), 'deny')
  await assert.rejects(client.authorizationCodeGrant(notebook, to, checks), thrown => {
    assert.ok(thrown instanceof client.AuthorizationResponseError)
    assert.equal(thrown.error, 'access_denied')
    return true
  })
})

test('S23 S25 S26 a code works once, with its verifier, and a replay ends what came of it', async () => {
  const { checks, parameters } = await begin(notebook)
  const { to } = await new UserAgent().go(client.buildAuthorizationUrl(notebook, parameters))
  const other = { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }
  await assert.rejects(client.authorizationCodeGrant(notebook, to, other), refused('invalid_grant'))
  const tokens = await client.authorizationCodeGrant(notebook, to, checks)
  assert.equal(await gate(notebook, tokens.access_token), 200)
  await assert.rejects(client.authorizationCodeGrant(notebook, to, checks), refused('invalid_grant'))
  assert.equal(await gate(notebook, tokens.access_token), 401)
})

test('S21 S28 refresh: rotated, narrowed, a lost answer costs nothing, a replay ends the family', async () => {
  const first = await signedIn(notebook)
  const narrow = await client.refreshTokenGrant(notebook, first.refresh_token, { scope: 'openid' })
  assert.equal(narrow.scope, 'openid')
  assert.notEqual(narrow.refresh_token, first.refresh_token)
  // As if that answer had been lost.
  const again = await client.refreshTokenGrant(notebook, first.refresh_token)
  assert.equal(again.claims().sub, 'alice')
  assert.equal(await gate(notebook, again.access_token), 200)
  // Now that its successor has been used, nobody honest shows it.
  await assert.rejects(client.refreshTokenGrant(notebook, first.refresh_token), refused('invalid_grant'))
  await assert.rejects(client.refreshTokenGrant(notebook, again.refresh_token), refused('invalid_grant'))
  assert.equal(await gate(notebook, again.access_token), 401)
})

test('S43 device: it polls while the person decides', { timeout: 40_000 }, async () => {
  const device = await client.initiateDeviceAuthorization(notebook, { scope: 'openid orders:read' })
  assert.equal(device.verification_uri, `${process.env.ISSUER}/oauth2/device`)
  const polling = client.pollDeviceAuthorizationGrant(notebook, device)
  // Its first poll, five seconds from now, finds nothing decided.
  await pause(6_000)
  const { page } = await new UserAgent().go(device.verification_uri_complete)
  assert.match(page, /All set/)
  const tokens = await polling
  assert.equal(await gate(notebook, tokens.access_token), 200)
  const refusedDevice = await client.initiateDeviceAuthorization(notebook, { scope: 'openid' })
  await new UserAgent().go(refusedDevice.verification_uri_complete, 'deny')
  const grant = 'urn:ietf:params:oauth:grant-type:device_code'
  const told = client.genericGrantRequest(notebook, grant, { device_code: refusedDevice.device_code })
  await assert.rejects(told, refused('access_denied'))
})

test('S46 S48 introspection: an app sees its own tokens, and nothing of another one\'s', async () => {
  const own = await signedIn(office)
  const seen = await client.tokenIntrospection(office, own.access_token)
  assert.equal(seen.active, true)
  assert.equal(seen.client_id, 'office')
  assert.equal(seen.sub, 'alice')
  assert.equal(seen.iss, process.env.ISSUER)
  assert.ok(seen.scope.split(' ').includes('orders:read'))
  const foreign = await signedIn(notebook)
  assert.deepEqual({ ...await client.tokenIntrospection(office, foreign.access_token) }, { active: false })
  await assert.rejects(client.tokenIntrospection(notebook, foreign.access_token), unauthenticated)
})

test('S47 S49 revocation: felt by the next call, and with a refresh token goes everything', async () => {
  const one = await signedIn(office)
  await client.tokenRevocation(office, one.access_token)
  assert.equal(await gate(office, one.access_token), 401)
  assert.equal((await client.tokenIntrospection(office, one.access_token)).active, false)
  const two = await signedIn(office)
  await client.tokenRevocation(office, two.refresh_token, { token_type_hint: 'refresh_token' })
  assert.equal(await gate(office, two.access_token), 401)
  await assert.rejects(client.refreshTokenGrant(office, two.refresh_token), refused('invalid_grant'))
  await client.tokenRevocation(office, 'nothing of ours')
})

test('S17 S19 S20 client credentials: by header or by form, never without the secret', async () => {
  const posting = await client.discovery(issuer, 'office', undefined, client.ClientSecretPost(secret))
  for (const config of [office, posting]) {
    const tokens = await client.clientCredentialsGrant(config, { scope: 'orders:read' })
    assert.equal(await gate(config, tokens.access_token), 200)
    assert.equal(tokens.refresh_token, undefined)
  }
  const wrong = await client.discovery(issuer, 'office', undefined, client.ClientSecretPost(`${secret}!`))
  await assert.rejects(client.clientCredentialsGrant(wrong), unauthenticated)
  await assert.rejects(client.clientCredentialsGrant(notebook), refused('unauthorized_client'))
})

test('S17 S37 private_key_jwt: an assertion instead of a secret, each of them once', async () => {
  const pem = readFileSync(process.env.KEY, 'utf8').replace(/-----[^-]+-----|\s/g, '')
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const key = await crypto.subtle.importKey('pkcs8', Buffer.from(pem, 'base64'), algorithm, false, ['sign'])
  const keyed = await client.discovery(issuer, 'keyed', undefined, client.PrivateKeyJwt(key))
  const tokens = await client.clientCredentialsGrant(keyed, { scope: 'orders:read' })
  assert.equal(await gate(keyed, tokens.access_token), 200)
  const fixed = { [client.modifyAssertion]: (_, payload) => { payload.jti = 'the same again' } }
  const careless = await client.discovery(issuer, 'keyed', undefined, client.PrivateKeyJwt(key, fixed))
  await client.clientCredentialsGrant(careless)
  await assert.rejects(client.clientCredentialsGrant(careless), unauthenticated)
  await assert.rejects(client.tokenIntrospection(careless, tokens.access_token), unauthenticated)
  await assert.rejects(client.tokenRevocation(careless, tokens.access_token), unauthenticated)
  assert.equal(await gate(keyed, tokens.access_token), 200)
  assert.equal((await client.tokenIntrospection(keyed, tokens.access_token)).active, true)
  await client.tokenRevocation(keyed, tokens.access_token)
  assert.equal(await gate(keyed, tokens.access_token), 401)
})

test('pushed requests: the browser carries a handle alone, which works once', async () => {
  const { checks, parameters } = await begin(office)
  const url = await client.buildAuthorizationUrlWithPAR(office, parameters)
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri'])
  const agent = new UserAgent()
  const { to } = await agent.go(url)
  const tokens = await client.authorizationCodeGrant(office, to, checks)
  assert.equal(await gate(office, tokens.access_token), 200)
  const again = await agent.go(url)
  assert.equal(again.status, 400)
  const bad = client.buildAuthorizationUrlWithPAR(office, { ...parameters, redirect_uri: 'https://evil.example/' })
  await assert.rejects(bad, refused('invalid_request'))
})

test('S57 logout at the app\'s word: with an ID token of this session nothing is asked', async () => {
  const agent = new UserAgent()
  const tokens = await signedIn(notebook, agent)
  const post_logout_redirect_uri = 'http://127.0.0.1:49152/signed-out'
  const leave = { id_token_hint: tokens.id_token, post_logout_redirect_uri, state: 'bye' }
  const { to } = await agent.go(client.buildEndSessionUrl(notebook, leave))
  assert.equal(String(to), `${post_logout_redirect_uri}?state=bye`)
  const { checks, parameters } = await begin(notebook, { prompt: 'none' })
  const silent = await agent.go(client.buildAuthorizationUrl(notebook, parameters))
  await assert.rejects(client.authorizationCodeGrant(notebook, silent.to, checks), { error: 'login_required' })
})
