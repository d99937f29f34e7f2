import { readFileSync } from 'node:fs'
import test from 'ava'
import { routes } from './routes.ts'

const page = readFileSync(new URL('../../docs/reference/api.md', import.meta.url), 'utf8')

test('the reference tells of every endpoint', t => {
  for (const { method, path, summary, response, unsupported } of routes) {
    if (unsupported !== undefined) {
      t.true(page.includes(`\`${unsupported}\``), `the reference has no ${unsupported}`)
      continue
    }
    const success = response === undefined ? '204' : response === 'empty' ? '200, empty' : '200'
    t.true(page.includes(`| \`${method} ${path}\` | ${summary} | ${success} |`), `the reference has no ${path}`)
  }
})

test('and of none that is not there', t => {
  const named = [...page.matchAll(/\| `(?:GET|PUT) (\S+)`/g)].map(([, path]) => path)
  const known = routes.filter(({ unsupported }) => unsupported === undefined).map(({ path }) => path)
  t.deepEqual(named, known)
})
