// Sessions end, here or elsewhere, and what was granted is taken back.
import assert from 'node:assert/strict'
import { call, openApp, token } from '../app.mjs'
import { allow, issuer, scenario, sees, signIn } from '../stage.mjs'

async function granted(page, app, user) {
  const asked = app.request()
  await page.goto(asked.url)
  await signIn(page, user)
  await allow(page)
  return app.arrive(page, asked)
}

scenario('S57 a session that ended on the server: whoever still shows its cookie signs in again and goes on', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const asked = app.request()
  await page.goto(asked.url)
  await signIn(page, 'expired')
  await sees(page, 'Orders notebook asks for access')

  const elsewhere = await stage.page()
  await elsewhere.goto(`${issuer}/oauth2/account`)
  await signIn(elsewhere, 'expired')
  await elsewhere.getByRole('button', { name: 'Sign out everywhere' }).click()
  await sees(elsewhere, 'Signed out')

  // The open consent page is worth nothing without a session.
  await allow(page)
  await sees(page, 'Sign in')
  await signIn(page, 'expired')
  await sees(page, 'Orders notebook asks for access')
  await allow(page)
  await app.arrive(page, asked)
  const silent = app.request({ prompt: 'none' })
  await elsewhere.goto(silent.url)
  assert.equal((await app.answer(elsewhere, silent)).get('error'), 'login_required', 'S15')
  app.close()
})

scenario('S49 my apps: an app is taken back, and the gate refuses its token at once', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const tokens = await granted(page, app, 'owner')
  await page.goto(`${issuer}/oauth2/account`)
  await sees(page, 'Your apps')
  const entry = page.getByRole('region', { name: 'Orders notebook' })
  await entry.getByText('See your orders').waitFor()
  await entry.getByText('Since').waitFor()
  await entry.getByRole('button', { name: 'Take access back Orders notebook' }).click()
  await page.getByText('You have not let any app act for you.').waitFor()
  assert.equal(await call(tokens.access_token), 401)
  const fields = { grant_type: 'refresh_token', client_id: 'notebook', refresh_token: tokens.refresh_token }
  assert.equal((await token(fields)).body.error, 'invalid_grant')
  await page.goto(app.request().url)
  await sees(page, 'Orders notebook asks for access')
  app.close()
})

scenario('S57 sign out, here and at the word of an app, which gets its browser back', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const tokens = await granted(page, app, 'leaving')
  await page.goto(`${issuer}/oauth2/account`)
  await page.getByRole('button', { name: 'Sign out', exact: true }).click()
  await sees(page, 'Signed out')
  await page.goto(app.request().url)
  await sees(page, 'Sign in')
  assert.equal(await call(tokens.access_token), 200, 'offline access was granted to outlive the session')
  await signIn(page, 'leaving')
  await page.waitForURL(url => url.origin === app.origin)

  const bye = `${app.origin}/signed-out`
  const leave = new URLSearchParams({ client_id: 'notebook', post_logout_redirect_uri: bye, state: 'so long' })
  await page.goto(`${issuer}/oauth2/logout?${leave}`)
  await sees(page, 'Sign out?')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.waitForURL(`${bye}?state=so+long`)
  const silent = app.request({ prompt: 'none' })
  await page.goto(silent.url)
  assert.equal((await app.answer(page, silent)).get('error'), 'login_required')
  app.close()
})

scenario('S58 a form that another site posts is not taken', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const tokens = await granted(page, app, 'target')
  // A site of somebody else's, in the same browser, with the cookies that SameSite leaves it.
  await page.goto(`${app.origin}/`)
  await page.evaluate(action => {
    const form = document.createElement('form')
    Object.assign(form, { method: 'post', action })
    form.innerHTML = '<input name="action" value="revoke"><input name="client" value="notebook">'
    document.body.append(form)
    form.submit()
  }, `${issuer}/oauth2/account`)
  await page.waitForURL(url => url.origin === issuer)
  assert.equal(await call(tokens.access_token), 200)
  app.close()
})

scenario('S11 no other site shows a page of ours in a frame of its own', async stage => {
  const app = await openApp()
  const page = await stage.page()
  await granted(page, app, 'framed')
  await page.goto(`${app.origin}/`)
  const refused = page.waitForEvent('console', message => message.text().includes('frame-ancestors'))
  await page.evaluate(address => {
    document.body.append(Object.assign(document.createElement('iframe'), { src: address }))
  }, `${issuer}/oauth2/account`)
  await refused
  assert.equal(await page.frameLocator('iframe').getByText('Your apps').count(), 0)
  assert.equal(stage.violations.splice(0).length, 1, 'that one was to be expected')
  app.close()
})
