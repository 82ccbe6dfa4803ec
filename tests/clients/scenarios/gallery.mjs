// Every page there is: looked at in both languages, light and dark, narrow and wide, and checked for accessibility.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { openApp } from '../app.mjs'
import { issuer, password, scenario, screenshots } from '../stage.mjs'
import { begin } from './device.mjs'
import { oneTimeCode } from './second_factor.mjs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/// What is looked for in which colours: a dark page differs in its colours alone.
const RULES = {
  light: { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] },
  dark: { runOnly: { type: 'rule', values: ['color-contrast'] } },
}
/// A translated page differs in the length of its words alone.
const VIEWS = {
  en: { light: [360, 1280], dark: [360, 1280] },
  de: { light: [360], dark: [1280] },
}

/// Stops at pages, and remembers what is wrong with them, so that one run tells everything.
class Visitor {
  wrong = []
  titles = new Set()

  constructor(page, language) {
    this.page = page
    this.language = language
  }

  async look(name) {
    const { page } = this
    assert.equal(await page.locator('html').getAttribute('lang'), this.language, name)
    assert.equal(await page.locator('h1').count(), 1, name)
    this.titles.add(await page.title())
    for (const [scheme, widths] of Object.entries(VIEWS[this.language])) {
      await page.emulateMedia({ colorScheme: scheme })
      for (const width of widths) {
        await page.setViewportSize({ width, height: width === 360 ? 740 : 800 })
        const path = join(screenshots, `${name}-${this.language}-${scheme}-${width}.png`)
        await page.screenshot({ path, fullPage: true })
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
        if (over > 0) this.wrong.push(`${name} ${this.language} ${width}: ${over} px too wide`)
      }
      if (this.language === 'en') await this.check(name, scheme)
    }
  }

  async check(name, scheme) {
    if (!(await this.page.evaluate(() => 'axe' in globalThis))) await this.page.evaluate(axe)
    const { violations } = await this.page.evaluate(rules => globalThis.axe.run(document, rules), RULES[scheme])
    for (const { id, help, nodes } of violations) {
      this.wrong.push(`${name} ${scheme}: ${id}: ${help}: ${nodes.map(n => n.html).join(' | ')}`)
    }
  }

  /// By what forms send, since the words are in another language.
  async signIn(user, secret = password) {
    await this.page.locator('#username').fill(user)
    await this.page.locator('#password').fill(secret)
    await this.page.locator('main form button').first().click()
  }

  async press(name, value) {
    await this.page.locator(`button[name=${name}][value=${value}]`).first().click()
  }

  async enter(field, text, next) {
    await this.page.locator(field).fill(text)
    await this.page.keyboard.press('Enter')
    await this.page.locator(next).waitFor()
  }
}

for (const [language, locale] of [['en', 'en-GB'], ['de', 'de-CH']]) {
  const user = `gallery-${language}`
  scenario(`every page, ${language}: nothing axe-core objects to, nothing too wide for a telephone`, async stage => {
    // axe-core is a script of our own that the pages' policy would rightly refuse.
    const page = await stage.page({ locale, bypassCSP: true })
    const [app, long, vault] = [await openApp(), await openApp('long'), await openApp('vault')]
    const visitor = new Visitor(page, language)
    const look = name => visitor.look(name)

    for (const [name, more] of [
      ['error-unknown-app', { client_id: 'nobody' }],
      ['error-redirect-uri', { redirect_uri: 'https://evil.example/callback' }],
      ['error-bad-request', { client_id: null }],
    ]) {
      await page.goto(app.request(more).url)
      await look(name)
    }
    await page.goto(`${issuer}/oauth2/login?i=worn-out`)
    await look('error-expired')

    await page.goto(`${issuer}/oauth2/account`)
    await look('login-without-app')
    await page.goto(long.request().url)
    await look('login-long-name')
    await page.goto(app.request().url)
    await look('login')
    await visitor.signIn(user, 'wrong')
    await page.getByRole('alert').waitFor()
    await look('login-wrong')
    await visitor.signIn(user)
    await page.locator('button[value=allow]').waitFor()
    await look('consent')
    await page.goto(long.request({ scope: null }).url)
    await look('consent-long-name')
    await visitor.press('decision', 'allow')
    await page.waitForURL(url => url.origin === long.origin)
    await page.goto(app.request({ prompt: 'select_account' }).url)
    await look('select-account')

    await page.goto(`${issuer}/oauth2/device`)
    await look('device')
    await visitor.enter('#user_code', 'BCDF-BCDF', '.problem')
    await look('device-unknown')
    for (const decision of ['allow', 'deny']) {
      await page.goto((await begin('long', 'openid orders:read')).verification_uri_complete)
      if (decision === 'allow') await look('device-confirm')
      await visitor.press('decision', decision)
      await page.locator('button').waitFor({ state: 'detached' })
      await look(`device-${decision}`)
    }

    const posted = app.request({ response_mode: 'form_post' })
    app.postStatus = 204
    await page.goto(posted.url)
    await visitor.press('decision', 'allow')
    await page.waitForFunction(() => document.forms[0]?.method === 'post' && !document.forms[0].csrf)
    await look('form-post')

    await page.goto(`${issuer}/oauth2/account`)
    await look('account')
    await page.goto(vault.request({ scope: 'openid' }).url)
    const secret = await page.locator('#secret').textContent()
    await look('enrol')
    await visitor.enter('#code', '000000', '.problem')
    await look('enrol-wrong')
    await visitor.enter('#code', oneTimeCode(secret), 'button[value=allow]')
    await page.goto(vault.request({ scope: 'openid', prompt: 'login' }).url)
    await visitor.signIn(user)
    await page.locator('#code').waitFor()
    await look('second-factor')
    await visitor.enter('#code', '000000', '.problem')
    await look('second-factor-wrong')
    await visitor.enter('#code', oneTimeCode(secret, 1), 'button[value=allow]')

    for (const client of ['notebook', 'long']) {
      await page.goto(`${issuer}/oauth2/account`)
      await page.locator(`form:has(input[value="${client}"]) button`).click()
    }
    await look('account-without-apps')
    // A form that was open before the cookies went.
    await page.goto(`${issuer}/oauth2/account`)
    const kept = await page.context().cookies()
    await page.context().clearCookies({ name: '__Host-portcullis-browser' })
    await visitor.press('action', 'withdraw')
    await page.locator('button').first().waitFor({ state: 'detached' })
    await look('error-foreign-form')
    await page.context().addCookies(kept)
    await page.goto(`${issuer}/oauth2/logout`)
    await look('logout')
    await visitor.press('confirm', 'yes')
    await page.locator('button').waitFor({ state: 'detached' })
    await look('signed-out')
    for (const opened of [app, long, vault]) opened.close()
    assert.deepEqual(visitor.wrong, [])
    assert.ok(visitor.titles.size > 12, `a title of its own for each page: ${[...visitor.titles]}`)
  }, 240_000)
}
