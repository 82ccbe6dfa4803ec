// A web app behind the gate that knows nothing of signing in.
import assert from 'node:assert/strict'
import { allow, issuer, scenario, sees, signIn, through } from '../stage.mjs'

scenario('S54 a browser is sent to sign in and comes back to where it was going; a script gets 401', async stage => {
  const page = await stage.page()
  await page.goto(`${issuer}/status`)
  const asked = () => page.evaluate(async () => {
    const answer = await fetch('/portal/orders?page=2')
    return [answer.status, answer.redirected]
  })
  assert.deepEqual(await asked(), [401, false])
  await page.goto(`${issuer}/portal/orders?page=2`)
  await sees(page, 'Sign in')
  await signIn(page, 'visitor')
  await sees(page, 'Orders portal asks for access')
  await allow(page)
  await page.waitForURL(`${issuer}/portal/orders?page=2`)
  const seen = JSON.parse(await page.locator('body').textContent())
  assert.equal(seen.headers['x-forwarded-user'], 'visitor')
  assert.ok(!JSON.stringify(seen).includes('__Host-portcullis-gate='), 'the upstream never sees the cookie')
  assert.deepEqual(await asked(), [200, false])
  const known = await page.evaluate(async () => (await fetch('/oauth2/auth')).status)
  assert.equal(known, 202)

  // The app's own sign-out; the person's session with us goes on, so coming back asks nothing.
  await page.goto(`${issuer}/oauth2/sign_out?rd=/status`)
  await page.waitForURL(`${issuer}/status`)
  assert.deepEqual(await asked(), [401, false])
  await page.goto(`${issuer}/portal/orders`)
  await page.waitForURL(`${issuer}/portal/orders`)
  // Signing out with us ends it too.
  await page.goto(`${issuer}/oauth2/logout`)
  await page.getByRole('button', { name: 'Sign out' }).click()
  await sees(page, 'Signed out')
  await page.goto(`${issuer}/status`)
  assert.deepEqual(await asked(), [401, false])
})

scenario('S54 no return address leads to another site', async stage => {
  const page = await stage.page()
  await page.goto(`${issuer}/oauth2/start?rd=${encodeURIComponent('https://evil.example/')}`)
  await signIn(page, 'lured')
  await allow(page)
  await page.waitForURL(url => url.origin === issuer && url.pathname === '/')
})

scenario('S14 two tabs that begin to sign in at the gate come home, each to its own page', async stage => {
  const context = await stage.browser()
  const tabs = [await context.newPage(), await context.newPage()]
  const home = n => `${issuer}/portal/orders?page=${n}`
  // At once: neither knows the cookie of the other.
  await Promise.all(tabs.map((tab, n) => tab.goto(home(n))))
  for (const n of [1, 0]) {
    await through(tabs[n], 'tabbed', url => url === home(n))
    await tabs[n].waitForURL(home(n))
  }
  for (const tab of tabs) {
    await tab.reload()
    assert.equal(JSON.parse(await tab.locator('body').textContent()).headers['x-forwarded-user'], 'tabbed')
  }
})

scenario('S57 a session at the gate that ended elsewhere: the next page asks to sign in and comes back', async stage => {
  const page = await stage.page()
  await page.goto(`${issuer}/portal/orders?page=1`)
  await signIn(page, 'lapsed')
  await allow(page)
  await page.waitForURL(`${issuer}/portal/orders?page=1`)
  const elsewhere = await stage.page()
  await elsewhere.goto(`${issuer}/oauth2/account`)
  await signIn(elsewhere, 'lapsed')
  await elsewhere.getByRole('button', { name: 'Sign out everywhere' }).click()
  await sees(elsewhere, 'Signed out')
  await page.goto(`${issuer}/portal/orders?page=2`)
  await sees(page, 'Sign in')
  await signIn(page, 'lapsed')
  await page.waitForURL(`${issuer}/portal/orders?page=2`)
})
