// From an app to the login page, to consent, and back.
import assert from 'node:assert/strict'
import { openApp } from '../app.mjs'
import { allow, issuer, scenario, sees, signIn, through } from '../stage.mjs'

scenario('S12 S56 first time: login, consent, code, token, a call through the gate; then straight on', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const first = app.request()
  await page.goto(first.url)
  await sees(page, 'Sign in')
  await page.getByText('to go on to Orders notebook').waitFor()
  await signIn(page, 'first')
  await sees(page, 'Orders notebook asks for access')
  for (const words of ['Know who you are', 'See your orders', 'Act for you while you are away']) {
    await page.getByRole('listitem').filter({ hasText: words }).waitFor()
  }
  assert.ok(await page.getByText(new URL(app.origin).host).isVisible(), 'the page says where it goes back to')
  await allow(page)
  const tokens = await app.arrive(page, first)
  assert.ok(tokens.refresh_token && tokens.id_token)
  const cookies = (await page.context().cookies(issuer)).filter(c => c.name.startsWith('__Host-portcullis'))
  assert.ok(cookies.some(c => c.name === '__Host-portcullis'))
  for (const { secure, httpOnly, sameSite, path } of cookies) {
    assert.deepEqual([secure, httpOnly, sameSite, path], [true, true, 'Lax', '/'], 'S56')
  }

  const again = app.request()
  const shown = []
  page.on('framenavigated', frame => shown.push(new URL(frame.url()).pathname))
  await page.goto(again.url)
  await app.arrive(page, again)
  assert.deepEqual(shown, ['/callback'], 'no page in between')
  const silent = app.request({ prompt: 'none' })
  await page.goto(silent.url)
  await app.arrive(page, silent)
  app.close()
})

scenario('without scripts: login, consent, code, and a posted answer by its button', async stage => {
  const app = await openApp()
  const page = await stage.page({ javaScriptEnabled: false })
  const asked = app.request()
  await page.goto(asked.url)
  await signIn(page, 'scriptless')
  await allow(page)
  await app.arrive(page, asked)
  const posted = app.request({ response_mode: 'form_post' })
  await page.goto(posted.url)
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.waitForURL(app.callback)
  assert.equal(app.posted.at(-1).get('state'), posted.state)
  await app.redeem(posted, app.posted.at(-1))
  app.close()
})

scenario('S59 a wrong password and an unknown name get the same words, and the right one goes on', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const asked = app.request()
  await page.goto(asked.url)
  const problems = []
  for (const [user, secret] of [['careless', 'wrong'], ['nobody-of-this-name', 'wrong']]) {
    await signIn(page, user, secret)
    problems.push(await page.getByRole('alert').textContent())
    assert.equal(await page.getByLabel('User name').inputValue(), user, 'what was typed is kept')
    assert.equal(await page.getByLabel('Password').inputValue(), '', 'but the password')
  }
  assert.deepEqual(problems, Array(2).fill('The name or the password is wrong.'))
  await signIn(page, 'careless')
  await allow(page)
  await app.arrive(page, asked)
  app.close()
})

scenario('S12 a no is told to the app, and asked again the next time', async stage => {
  const app = await openApp()
  const page = await stage.page()
  for (const round of [1, 2]) {
    const asked = app.request()
    await page.goto(asked.url)
    if (round === 1) await signIn(page, 'unwilling')
    await page.getByRole('button', { name: 'Deny' }).click()
    const answer = await app.answer(page, asked)
    assert.equal(answer.get('error'), 'access_denied')
    assert.equal(answer.get('code'), null)
  }
  app.close()
})

scenario('S14 the back button leads to login and on again, and from the app back to the app', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const asked = app.request()
  await page.goto(asked.url)
  await signIn(page, 'undecided')
  await sees(page, 'Orders notebook asks for access')
  await page.goBack()
  await sees(page, 'Sign in')
  await signIn(page, 'undecided')
  await allow(page)
  const first = await app.answer(page, asked)
  await page.goBack()
  const second = await app.answer(page, asked)
  assert.notEqual(first.get('code'), second.get('code'), 'the consent page has nothing left to ask: a code of its own')
  await app.redeem(asked, second)
  await app.redeem(asked, first)
  app.close()
})

scenario('S14 two tabs at once, each back at its own request', async stage => {
  const app = await openApp()
  const context = await stage.browser()
  const tabs = [await context.newPage(), await context.newPage()]
  const asked = tabs.map(() => app.request())
  await tabs[0].goto(asked[0].url)
  await tabs[1].goto(asked[1].url)
  await signIn(tabs[1], 'twofold')
  await allow(tabs[1])
  const early = await app.arrive(tabs[1], asked[1])
  // This tab's page is older than the session and the consent.
  await signIn(tabs[0], 'twofold')
  await app.arrive(tabs[0], asked[0])
  const after = await fetch(`${issuer}/orders/7`, { headers: { authorization: `Bearer ${early.access_token}` } })
  assert.equal(after.status, 200, 'what the other tab got still opens')
  app.close()
})

scenario('S14 two tabs in the very same moment, before the browser has any cookie of ours', async stage => {
  const app = await openApp()
  const context = await stage.browser()
  const tabs = [await context.newPage(), await context.newPage()]
  const asked = tabs.map(() => app.request())
  await Promise.all(tabs.map((tab, n) => tab.goto(asked[n].url)))
  for (const [n, tab] of tabs.entries()) {
    await through(tab, 'synchronous', url => new URL(url).origin !== issuer)
    await app.arrive(tab, asked[n])
  }
  app.close()
})

scenario('S14 a page of one browser is of no use in another', async stage => {
  const app = await openApp()
  const page = await stage.page()
  await page.goto(app.request().url)
  const address = page.url()
  const other = await stage.page()
  const response = await other.goto(address)
  assert.equal(response.status(), 400)
  await sees(other, 'This sign-in is over')
  app.close()
})

scenario('form_post: the answer is posted by the browser itself, under a policy that allows this one script', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const asked = app.request({ response_mode: 'form_post' })
  await page.goto(asked.url)
  await signIn(page, 'postal')
  await allow(page)
  await page.waitForURL(app.callback)
  assert.equal(app.posted.length, 1)
  assert.equal(app.posted[0].get('iss'), issuer, 'S9')
  assert.equal(app.posted[0].get('state'), asked.state)
  assert.ok(!page.url().includes('code='), 'nothing in the address bar')
  await app.redeem(asked, app.posted[0])
  app.close()
})

scenario('keyboard alone: the first field has the focus, Tab and Enter do the rest', async stage => {
  const app = await openApp()
  const page = await stage.page()
  const asked = app.request()
  await page.goto(asked.url)
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.value)
  assert.equal(await focused(), 'username')
  assert.equal(await page.getByLabel('User name').inputValue(), '')
  await page.keyboard.type('keyboard')
  await page.keyboard.press('Tab')
  assert.equal(await focused(), 'password')
  await page.keyboard.type(process.env.PASSWORD)
  await page.keyboard.press('Enter')
  await sees(page, 'Orders notebook asks for access')
  await page.keyboard.press('Tab')
  assert.equal(await focused(), 'allow')
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle)
  assert.equal(ring, 'solid', 'the focus can be seen')
  await page.keyboard.press('Enter')
  await app.arrive(page, asked)
  app.close()
})

scenario('an app may send the browser on from its callback to another of its sites', async stage => {
  const app = await openApp()
  // Another origin than ours and than the callback's.
  app.onward = `${issuer.replace('localhost', '127.0.0.1')}/status`
  const page = await stage.page()
  await page.goto(app.request().url)
  await signIn(page, 'wanderer')
  await allow(page)
  await page.waitForURL(app.onward)
  await page.goto(app.request({ prompt: 'login' }).url)
  await signIn(page, 'wanderer')
  await page.waitForURL(app.onward)
  app.close()
})
