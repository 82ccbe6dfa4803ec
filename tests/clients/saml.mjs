// Signing in at a company's identity provider, up to a proxied call: Chromium, the gate, and an IdP nobody here wrote.
import assert from 'node:assert/strict'
import { allow, issuer, raiseTheCurtain, scenario, sees } from './stage.mjs'

scenario(`S50 S54 SP-initiated sign-on at ${process.env.IDP_NAME}, up to a proxied call`, async stage => {
  const page = await stage.page()
  await page.goto(`${issuer}/portal/orders?page=2`)
  await sees(page, 'Sign in')
  await page.getByRole('link', { name: 'Corp' }).click()
  if (process.env.IDP_PASSWORD) {
    await page.locator('input[name=username]').fill('alice')
    await page.locator('input[name=password]').fill(process.env.IDP_PASSWORD)
    await page.locator('input[name=password]').press('Enter')
  }
  await sees(page, 'Orders portal asks for access')
  await allow(page)
  await page.waitForURL(`${issuer}/portal/orders?page=2`)
  const seen = JSON.parse(await page.locator('body').textContent())
  assert.equal(seen.headers['x-forwarded-user'], 'alice')
})

raiseTheCurtain()
