// One Chromium for all scenarios; each plays in contexts of its own and fails on any violation of a page's policy.
import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { accessSync, constants, mkdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { chromium } from 'playwright-core'

export const issuer = process.env.ISSUER
export const password = process.env.PASSWORD
export const screenshots = process.env.SCREENSHOTS
mkdirSync(screenshots, { recursive: true })

let browser

function installed() {
  for (const folder of process.env.PATH.split(delimiter)) {
    const path = join(folder, 'chromium')
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {}
  }
  throw new Error('chromium is missing: run scripts/setup.sh test')
}

async function launch() {
  // The gate's own key and no other: what Chromium says of certificates stays true.
  const key = new X509Certificate(readFileSync(process.env.CERTIFICATE)).publicKey
  const pin = createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('base64')
  browser = await chromium.launch({
    executablePath: installed(),
    chromiumSandbox: process.getuid() !== 0,
    args: [
      `--ignore-certificate-errors-spki-list=${pin}`,
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

export class Stage {
  violations = []
  #contexts = []

  /// A browser of its own: no cookie, nothing remembered.
  async browser(options = {}) {
    const context = await browser.newContext({ locale: 'en-GB', ...options })
    context.setDefaultTimeout(20_000)
    await context.addInitScript(() =>
      addEventListener('securitypolicyviolation', e =>
        console.error(`Content Security Policy: ${e.violatedDirective} ${e.blockedURI}`)))
    context.on('console', message => {
      if (/content security policy|refused to|violates/i.test(message.text())) this.violations.push(message.text())
    })
    context.on('weberror', error => this.violations.push(String(error.error())))
    this.#contexts.push(context)
    return context
  }

  async page(options) {
    return (await this.browser(options)).newPage()
  }

  async tellOfFailure(name) {
    let n = 0
    for (const page of this.#contexts.flatMap(c => c.pages())) {
      const path = join(screenshots, `failed-${name.replace(/\W+/g, '-')}-${n++}.png`)
      await page.screenshot({ path }).catch(() => {})
      console.error(`${name}: stood at ${page.url()}, ${path}`)
    }
  }

  async close() {
    await Promise.all(this.#contexts.map(c => c.close()))
  }
}

/// `SCENARIO=words cargo test --test door browser` plays those whose names contain the words.
export function scenario(name, play, timeout = 60_000) {
  if (name.includes(process.env.SCENARIO ?? '')) scenarios.push({ name, play, timeout })
}

const scenarios = []

/// Plays them, some at a time: a browser waits more than it works.
export function raiseTheCurtain() {
  describe('people in a real browser', { concurrency: 3 }, () => {
    before(launch)
    after(() => browser?.close())
    scenarios.forEach(perform)
  })
}

function perform({ name, play, timeout }) {
  test(name, { timeout }, async () => {
    const stage = new Stage()
    try {
      await play(stage)
      assert.deepEqual(stage.violations, [], 'no page does what its policy forbids')
    } catch (error) {
      if (stage.violations.length > 0) console.error(stage.violations)
      await stage.tellOfFailure(name)
      throw error
    } finally {
      await stage.close()
    }
  })
}

// What a person does.

export async function signIn(page, user, secret = password) {
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill(secret)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

export async function sees(page, heading) {
  await page.getByRole('heading', { level: 1, name: heading }).waitFor()
}

export async function allow(page) {
  await page.getByRole('button', { name: 'Allow' }).click()
}

/// Signs in and allows until it is `there`: of two tabs that begin at once, one has a page that is older than the secret
/// which the browser kept, and that page comes again.
export async function through(tab, user, there) {
  for (let page = 0; page < 4 && !there(tab.url()); page++) {
    const login = await tab.getByLabel('Password').isVisible()
    await Promise.all([tab.waitForNavigation(), login ? signIn(tab, user) : allow(tab)])
  }
}
