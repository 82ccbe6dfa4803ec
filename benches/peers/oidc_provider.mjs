// node-oidc-provider doing what benches/people.rs measures: rotation, ES256 ID tokens, opaque access tokens, its own
// in-memory adapter (nothing is written to a disk). Its interaction pages are the ones it ships for development.
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { jwtVerify } from 'jose';
import { Provider, errors } from 'oidc-provider';

// A map without limits: the adapter that comes with the package forgets all but the newest thousand entries.
const kept = new Map();
const grants = new Map();
class Unlimited {
  constructor(name) { this.name = name; }
  key(id) { return `${this.name}:${id}`; }
  async upsert(id, payload) {
    kept.set(this.key(id), payload);
    if (payload.uid) kept.set(`uid:${this.name}:${payload.uid}`, id);
    if (payload.grantId) {
      if (!grants.has(payload.grantId)) grants.set(payload.grantId, []);
      grants.get(payload.grantId).push(this.key(id));
    }
  }
  async find(id) { return kept.get(this.key(id)); }
  async findByUid(uid) { return this.find(kept.get(`uid:${this.name}:${uid}`)); }
  async findByUserCode() { return undefined; }
  async consume(id) { kept.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { kept.delete(this.key(id)); }
  async revokeByGrantId(id) { for (const key of grants.get(id) ?? []) kept.delete(key); grants.delete(id); }
}

const [port, robotKey] = process.argv.slice(2);
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'es256' };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [jwk] },
  adapter: Unlimited,
  cookies: { keys: ['a key of this benchmark'] },
  clients: [
    {
      client_id: 'web', token_endpoint_auth_method: 'none', 
      redirect_uris: ['https://app.example/callback'], grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'], id_token_signed_response_alg: 'ES256',
    },
    {
      client_id: 'batch', client_secret: 'a-secret-of-more-than-thirty-two-characters', redirect_uris: [],
      grant_types: ['client_credentials'], response_types: [], token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'ES256',
    },
    {
      client_id: 'robot', token_endpoint_auth_method: 'none', redirect_uris: [], grant_types: [GRANT], response_types: [],
      id_token_signed_response_alg: 'ES256',
    },
  ],
  scopes: ['openid', 'offline_access', 'read'],
  features: {
    devInteractions: { enabled: true }, clientCredentials: { enabled: true }, introspection: { enabled: true },
  },
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  ttl: { Session: 3600, Grant: 3600, AccessToken: 600, RefreshToken: 3600, AuthorizationCode: 60, IdToken: 600, ClientCredentials: 600 },
});
// RFC 7523, which it leaves to whoever embeds it: the app's key verifies, and an assertion is used once.
const robot = createPublicKey(readFileSync(robotKey));
provider.registerGrantType(GRANT, async (ctx) => {
  const { client, params } = ctx.oidc;
  const wanted = { algorithms: ['RS256'], issuer: client.clientId, audience: provider.issuer, requiredClaims: ['exp', 'jti', 'sub'] };
  const { payload } = await jwtVerify(params.assertion, robot, wanted).catch(() => { throw new errors.InvalidGrant('bad assertion'); });
  if (!await provider.ReplayDetection.unique(payload.iss, payload.jti, payload.exp)) throw new errors.InvalidGrant('used before');
  const token = new provider.AccessToken({ client, accountId: payload.sub, scope: 'read', gty: 'jwt_bearer' });
  ctx.oidc.entity('AccessToken', token);
  ctx.body = { access_token: await token.save(), expires_in: token.expiration, scope: token.scope, token_type: token.tokenType };
}, ['assertion', 'scope']);
provider.listen(Number(port), '127.0.0.1');
