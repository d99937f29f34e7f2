import { readFileSync } from 'node:fs'
import test from 'ava'
import { routes } from './routes.ts'

const page = readFileSync(new URL('../../docs/reference/api.md', import.meta.url), 'utf8')

test('the reference tells of every endpoint', t => {
  for (const { method, path, summary, response, mayBeSilent, unsupported } of routes) {
    if (unsupported !== undefined) {
      t.true(page.includes(`\`${unsupported}\``), `the reference has no ${unsupported}`)
      continue
    }
    const withBody = mayBeSilent === true ? '200 or 204' : '200'
    const success = response === undefined ? '204' : response === 'empty' ? '200, empty' : withBody
    t.true(page.includes(`| \`${method} ${path}\` | ${summary} | ${success} |`), `the reference has no ${path}`)
  }
})

test('and of none that is not there', t => {
  const named = [...page.matchAll(/\| `(?:GET|PUT) (\S+)`/g)].map(([, path]) => path)
  const known = routes.filter(({ unsupported }) => unsupported === undefined).map(({ path }) => path)
  t.deepEqual(named, known)
})
