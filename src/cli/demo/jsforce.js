// What a program with jsforce does: a code becomes a connection, which says whose it is, asks, renews itself, and ends.
const assert = require('node:assert/strict')
const jsforce = require('jsforce')
const { ISSUER: loginUrl, SECRET: clientSecret, CALLBACK: redirectUri, CODE, VERIFIER } = process.env

const main = async () => {
  const oauth2 = new jsforce.OAuth2({ loginUrl, clientId: 'console', clientSecret, redirectUri })
  const connection = new jsforce.Connection({ oauth2, version: '62.0' })
  const user = await connection.authorize(CODE, { code_verifier: VERIFIER })
  console.log(`connection.authorize(code): user ${user.id} of organization ${user.organizationId}`)
  const identity = await connection.identity()
  assert.equal(identity.username, 'alice')
  console.log(`connection.identity(): ${identity.username}, ${identity.display_name}`)
  const query = '/services/data/v62.0/query?q=SELECT+Id+FROM+Order'
  const before = connection.accessToken
  assert.equal((await connection.request(query)).headers['x-forwarded-user'], 'alice')
  await oauth2.revokeToken(before)
  assert.equal((await connection.request(query)).headers['x-forwarded-user'], 'alice')
  assert.notEqual(connection.accessToken, before)
  console.log('connection.request(query): the session was ended before, and it got another by itself')
  const { refreshToken } = connection
  await connection.logout(true)
  await assert.rejects(oauth2.refreshToken(refreshToken), { message: 'expired access/refresh token' })
  console.log('connection.logout(true): nothing renews it any more')
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
