// The device flow: this is its second screen; the device itself is a few requests.
import assert from 'node:assert/strict'
import { call, token } from '../app.mjs'
import { allow, issuer, scenario, sees, signIn } from '../stage.mjs'

export async function begin(client = 'notebook', scope = 'openid orders:read') {
  const body = new URLSearchParams({ client_id: client, scope })
  const answer = await fetch(`${issuer}/oauth2/device_authorization`, { method: 'POST', body })
  assert.equal(answer.status, 200)
  return answer.json()
}

function poll(device) {
  return token({
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id: 'notebook',
    device_code: device.device_code,
  })
}

for (const scripts of [true, false]) {
  scenario(`S45 device, the code in the link, scripts ${scripts ? 'on' : 'off'}: sign in, see which app asks, say yes`, async stage => {
    const device = await begin()
    assert.equal((await poll(device)).body.error, 'authorization_pending')
    assert.equal((await poll(device)).body.error, 'slow_down', 'S43')
    const page = await stage.page({ javaScriptEnabled: scripts })
    await page.goto(device.verification_uri_complete)
    await signIn(page, scripts ? 'screen' : 'quiet-screen')
    await sees(page, 'Orders notebook asks for access')
    assert.equal(await page.locator('p.code').textContent(), device.user_code)
    await allow(page)
    await sees(page, 'All set')
    const { status, body } = await poll(device)
    assert.equal(status, 200)
    assert.equal(await call(body.access_token), 200)
    assert.equal((await poll(device)).body.error, 'invalid_grant', 'a device code works once')
  })
}

scenario('S42 device, the code typed: small letters without the dash do, a wrong one is said to be wrong', async stage => {
  const device = await begin()
  const page = await stage.page()
  await page.goto(device.verification_uri)
  await signIn(page, 'typist')
  await sees(page, 'Connect a device')
  const type = async code => {
    await page.getByLabel('Code').fill(code)
    await page.getByRole('button', { name: 'Continue' }).click()
  }
  await type('BCDF-BCDF')
  await page.getByRole('alert').getByText('There is no such code').waitFor()
  assert.equal(await page.getByLabel('Code').inputValue(), 'BCDF-BCDF')
  await type(device.user_code.replace('-', '').toLowerCase())
  await sees(page, 'Orders notebook asks for access')
  await page.getByRole('button', { name: 'Deny' }).click()
  await sees(page, 'Denied')
  assert.equal((await poll(device)).body.error, 'access_denied')
  await page.goto(device.verification_uri_complete)
  await page.getByRole('alert').getByText('There is no such code').waitFor()
})
