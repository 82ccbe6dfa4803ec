// node-oidc-provider doing what benches/people.rs measures: rotation, ES256 ID tokens, opaque access tokens, its own
// in-memory adapter (nothing is written to a disk). Its interaction pages are the ones it ships for development.
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const [port] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'es256' };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [jwk] },
  cookies: { keys: ['a key of this benchmark'] },
  clients: [
    {
      client_id: 'web', token_endpoint_auth_method: 'none', application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback'], grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'], id_token_signed_response_alg: 'ES256',
    },
    {
      client_id: 'batch', client_secret: 'a-secret-of-more-than-thirty-two-characters', redirect_uris: [],
      grant_types: ['client_credentials'], response_types: [], token_endpoint_auth_method: 'client_secret_basic',
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
provider.listen(Number(port), '127.0.0.1');
