// A scripted user agent: cookies, redirects, forms. It does what a person would, without a browser.
import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'

const issuer = process.env.ISSUER

export class UserAgent {
  #cookies = new Map()

  /// Signs in and says yes wherever it is asked, until the way leads to an app or there is nothing more to do.
  async go(url, decision = 'allow') {
    let step = await this.#visit(new URL(url))
    while (step.page) {
      const form = step.page.match(/<form method="post" action="([^"]*)">(.*?)<\/form>/s)
      if (!form) return step
      const fields = new URLSearchParams()
      for (const [, name, value] of form[2].matchAll(/<input type="hidden" name="(.*?)" value="(.*?)">/g)) {
        fields.append(plain(name), plain(value))
      }
      if (form[2].includes('name="password"')) {
        fields.append('username', 'alice')
        fields.append('password', process.env.PASSWORD)
      } else if (form[2].includes('name="decision"')) {
        fields.append('decision', decision)
      } else {
        assert.fail(`a form nobody expected: ${form[0]}`)
      }
      step = await this.#visit(new URL(plain(form[1]), issuer), fields)
    }
    return step
  }

  async #visit(url, form) {
    for (let hops = 0; hops < 10; hops++) {
      const answer = await fetch(url, {
        redirect: 'manual',
        method: form ? 'POST' : 'GET',
        body: form,
        headers: {
          cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; '),
          ...(form && { origin: issuer }),
        },
      })
      for (const set of answer.headers.getSetCookie()) {
        const [, name, value] = set.match(/^([^=]+)=([^;]*)/)
        this.#cookies.set(name, value)
      }
      const page = await answer.text()
      const to = answer.headers.get('location')
      if (!to) return { status: answer.status, page }
      assert.equal(answer.status, 303, 'S10')
      url = new URL(to, issuer)
      form = undefined
      if (url.origin !== issuer) return { to: url }
    }
    assert.fail('redirects without end')
  }
}

function plain(html) {
  return html.replaceAll('&#x2f;', '/').replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>')
    .replaceAll('&#x27;', "'").replaceAll('&amp;', '&')
}

export { pause }
