// A connected app on this machine: sends browsers off, hears the answer on a loopback port, redeems, calls the API.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { issuer } from './stage.mjs'

const random = () => randomBytes(32).toString('base64url')

export async function openApp(client = 'notebook') {
  const app = new App(client)
  await app.listen()
  return app
}

class App {
  posted = []
  /// Where the browser goes from the callback; it stays there without.
  onward = null
  /// 204 keeps a browser on the page that posted.
  postStatus = 200
  #server

  constructor(client) {
    this.client = client
  }

  async listen() {
    this.#server = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      if (request.method === 'POST') {
        this.posted.push(new URLSearchParams(body))
        return response.writeHead(this.postStatus).end()
      }
      if (this.onward && request.url.startsWith('/callback')) {
        return response.writeHead(302, { location: this.onward }).end()
      }
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>App</title><h1>The app</h1>')
    })
    this.#server.listen(0, '127.0.0.1')
    await new Promise(resolve => this.#server.once('listening', resolve))
    this.#server.unref()
    this.origin = `http://127.0.0.1:${this.#server.address().port}`
    this.callback = `${this.origin}/callback`
  }

  close() {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  /// An authorization request; `more` adds, changes, or with null removes parameters.
  request(more = {}) {
    const verifier = random()
    const state = random()
    const parameters = {
      response_type: 'code',
      client_id: this.client,
      redirect_uri: this.callback,
      scope: 'openid profile offline_access orders:read',
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      ...more,
    }
    const kept = Object.entries(parameters).filter(([, value]) => value !== null)
    return { url: `${issuer}/oauth2/authorize?${new URLSearchParams(kept)}`, verifier, state }
  }

  /// The answer at the callback, held against what was asked.
  async answer(page, asked) {
    await page.waitForURL(url => url.origin === this.origin)
    const answer = new URL(page.url()).searchParams
    assert.equal(answer.get('state'), asked.state)
    assert.equal(answer.get('iss'), issuer, 'S9')
    return answer
  }

  async redeem(asked, answer) {
    assert.match(answer.get('code') ?? '', /^\S{32,}$/, String(answer))
    const { status, body } = await token({
      grant_type: 'authorization_code',
      client_id: this.client,
      code: answer.get('code'),
      redirect_uri: this.callback,
      code_verifier: asked.verifier,
    })
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }

  /// From the answer in the address bar to a token that opens the gate.
  async arrive(page, asked) {
    const tokens = await this.redeem(asked, await this.answer(page, asked))
    assert.equal(await call(tokens.access_token), 200)
    return tokens
  }
}

export async function token(fields) {
  const answer = await fetch(`${issuer}/oauth2/token`, { method: 'POST', body: new URLSearchParams(fields) })
  return { status: answer.status, body: await answer.json() }
}

/// What the gate says to a token.
export async function call(accessToken) {
  const answer = await fetch(`${issuer}/orders/7`, { headers: { authorization: `Bearer ${accessToken}` } })
  await answer.arrayBuffer()
  return answer.status
}

/// What an ID token says; whether it is true is what openid_client.mjs is about.
export function claims(idToken) {
  return JSON.parse(Buffer.from(idToken.split('.')[1], 'base64url'))
}
