// jsforce of npm, unmodified: a program for Salesforce that was pointed at another URL.
import assert from 'node:assert/strict'
import { createHmac, createPrivateKey, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import jsforce from 'jsforce'
import { UserAgent } from './agent.mjs'

const loginUrl = process.env.ISSUER
const clientSecret = process.env.SECRET
// Nothing listens there: the user agent only tells where it was sent.
const redirectUri = 'http://127.0.0.1:49152/callback'
const version = '62.0'

const oauth2 = (more = {}) => new jsforce.OAuth2({ loginUrl, clientId: 'console', clientSecret, redirectUri, ...more })

async function signedIn() {
  // Its verifier has 171 characters, and it names no method.
  const oauth = oauth2({ useVerifier: true })
  const { to } = await new UserAgent().go(oauth.getAuthorizationUrl({ scope: 'api id refresh_token', state: 'x' }))
  assert.equal(to.searchParams.get('state'), 'x')
  const connection = new jsforce.Connection({ oauth2: oauth, version })
  const user = await connection.authorize(to.searchParams.get('code'))
  return { connection, user }
}

test('S4 web server flow with PKCE, identity, a query through the gate', async () => {
  const { connection, user } = await signedIn()
  assert.match(user.id, /^005\w{15}$/)
  assert.match(user.organizationId, /^00D\w{15}$/)
  assert.equal(connection.instanceUrl, loginUrl)
  assert.match(connection.accessToken, /^00D\w{12}![A-Za-z0-9._]+$/)
  const identity = await connection.identity()
  assert.equal(identity.username, 'alice')
  assert.equal(identity.user_id, user.id)
  assert.equal(identity.email, 'alice@example.com')
  const seen = await connection.request('/services/data/v62.0/query?q=SELECT+Id+FROM+Order')
  assert.equal(seen.headers['x-forwarded-user'], 'alice')
})

test('the signature of an answer is the one that its documentation describes', async () => {
  const oauth = oauth2()
  const { to } = await new UserAgent().go(oauth.getAuthorizationUrl({}))
  const answer = await oauth.requestToken(to.searchParams.get('code'))
  const expected = createHmac('sha256', clientSecret).update(answer.id + answer.issued_at).digest('base64')
  assert.equal(answer.signature, expected)
})

test('S28 an ended session is renewed by itself, again and again', async () => {
  const { connection } = await signedIn()
  for (let round = 0; round < 2; round++) {
    const before = connection.accessToken
    await connection.oauth2.revokeToken(before)
    const seen = await connection.request('/services/data/v62.0/query?q=x')
    assert.equal(seen.headers['x-forwarded-user'], 'alice')
    assert.notEqual(connection.accessToken, before)
  }
})

test('S49 logout ends the session and what could renew it', async () => {
  const { connection } = await signedIn()
  const { accessToken, refreshToken } = connection
  await connection.logout(true)
  const alone = new jsforce.Connection({ instanceUrl: loginUrl, accessToken, version })
  await assert.rejects(alone.request('/services/data/v62.0/query?q=x'), { errorCode: 'INVALID_SESSION_ID' })
  await assert.rejects(oauth2().refreshToken(refreshToken), thrown => {
    assert.equal(thrown.name, 'invalid_grant')
    assert.equal(thrown.message, 'expired access/refresh token')
    return true
  })
})

test('S37 JWT bearer, for an app that the administrator approved', async () => {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { iss: 'signer', sub: 'alice', aud: 'https://login.salesforce.com', exp: Date.now() + 120_000 }
  const signed = `${part({ alg: 'RS256' })}.${part(claims)}`
  const signature = sign('sha256', Buffer.from(signed), createPrivateKey(readFileSync(process.env.KEY)))
  const assertion = `${signed}.${signature.toString('base64url')}`
  const fields = { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion }
  const connection = new jsforce.Connection({ oauth2: { loginUrl, clientId: 'signer' }, version })
  const user = await connection.authorize(fields)
  assert.equal((await connection.identity()).user_id, user.id)
  await assert.rejects(new jsforce.OAuth2({ loginUrl }).requestToken(fields), { name: 'invalid_grant' })
})

test('S59 username and password, by OAuth and by SOAP', async () => {
  const password = process.env.PASSWORD
  const connection = new jsforce.Connection({ oauth2: oauth2(), version })
  const user = await connection.login('alice', password)
  assert.equal((await connection.identity()).user_id, user.id)
  await assert.rejects(new jsforce.Connection({ oauth2: oauth2(), version }).login('alice', 'wrong'), {
    name: 'invalid_grant',
    message: 'authentication failure',
  })
  const soap = new jsforce.Connection({ loginUrl, version })
  assert.equal((await soap.loginBySoap('alice', password)).id, user.id)
  assert.equal(soap.instanceUrl, loginUrl)
  const { accessToken } = soap
  assert.equal((await soap.identity()).username, 'alice')
  await soap.logout()
  const alone = new jsforce.Connection({ instanceUrl: loginUrl, accessToken, version })
  await assert.rejects(alone.request('/services/data/v62.0/query?q=x'), { errorCode: 'INVALID_SESSION_ID' })
  await assert.rejects(new jsforce.Connection({ loginUrl, version }).loginBySoap('alice', 'wrong'), /INVALID_LOGIN/)
})

test('an app that nobody knows is told so in its own words', async () => {
  await assert.rejects(oauth2({ clientId: 'nobody' }).refreshToken('x'), {
    name: 'invalid_client_id',
    message: 'client identifier invalid',
  })
})
