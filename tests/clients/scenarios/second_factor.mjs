// A second factor: got, shown, and used once.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { claims, openApp } from '../app.mjs'
import { allow, issuer, scenario, sees, signIn } from '../stage.mjs'

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/// RFC 6238 by hand, `ahead` steps from now: the test does not trust the server's own arithmetic.
export function oneTimeCode(secret, ahead = 0) {
  const bits = [...secret.replace(/\s/g, '')].map(c => ALPHABET.indexOf(c).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map(byte => parseInt(byte, 2)))
  const step = Buffer.alloc(8)
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead))
  const mac = createHmac('sha1', key).update(step).digest()
  const at = mac[19] & 15
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

async function enter(page, code) {
  await page.getByLabel('Code from your authenticator app').fill(code)
  await page.keyboard.press('Enter')
}

scenario('S55 a second factor is set up on the way, asked for the next time, and no code works twice', async stage => {
  const app = await openApp('vault')
  const page = await stage.page()
  const asked = app.request({ scope: 'openid orders:read' })
  await page.goto(asked.url)
  await signIn(page, 'careful')
  await sees(page, 'Set up a second factor')
  assert.ok(await page.getByRole('img', { name: 'QR code' }).isVisible())
  const secret = await page.locator('#secret').textContent()
  assert.match(secret.replace(/\s/g, ''), /^[A-Z2-7]{32}$/, '160 bits')
  const before = await cookie(page)
  await enter(page, '000000')
  await page.getByRole('alert').getByText('This code is wrong').waitFor()
  assert.equal(await page.locator('#secret').textContent(), secret, 'the key that was scanned stays good')
  const used = oneTimeCode(secret)
  await enter(page, used)
  await sees(page, 'Vault asks for access')
  assert.notEqual(await cookie(page), before, 'S55')
  await allow(page)
  const tokens = await app.arrive(page, asked)
  assert.equal(claims(tokens.id_token).acr, 'urn:portcullis:high_assurance')
  assert.deepEqual(claims(tokens.id_token).amr, ['pwd', 'otp', 'mfa'])

  const other = await stage.page()
  const again = app.request({ scope: 'openid orders:read' })
  await other.goto(again.url)
  await signIn(other, 'careful')
  await sees(other, 'One more step')
  await enter(other, used)
  await other.getByRole('alert').getByText('was used before').waitFor()
  // With the password alone no other door is open.
  await other.goto(`${issuer}/oauth2/account`)
  await sees(other, 'One more step')
  await other.goto(again.url)
  await enter(other, oneTimeCode(secret, 1))
  await app.arrive(other, again)
  app.close()
})

async function cookie(page) {
  return (await page.context().cookies()).find(c => c.name === '__Host-portcullis')?.value
}
