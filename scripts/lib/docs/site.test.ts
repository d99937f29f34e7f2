import { dirname, normalize } from 'node:path/posix'
import test from 'ava'
import { readPages } from './checks.ts'
import { readPage } from './page.ts'
import { decisions, sections } from './sections.ts'
import { buildSite, htmlPath } from './site.ts'

const root = new URL('../../..', import.meta.url).pathname
const pages = readPages(root)

test('every document has its place on the site', t => {
  const placed = sections.flatMap(({ paths }) => paths)
  t.deepEqual(
    placed.toSorted(),
    pages
      .map(({ path }) => path)
      .filter(path => !path.startsWith(decisions))
      .toSorted(),
  )
})

test('every link on it leads to a page, a heading or a file that is put beside them', t => {
  const { files, linked } = buildSite(pages)
  const there = new Set([...files.keys(), ...linked, 'style.css'])
  for (const [path, html] of files) {
    for (const [, href = ''] of html.matchAll(/ href="([^"]*)"/g)) {
      if (/^[a-z]+:/.test(href)) continue
      const [file = '', anchor] = href.split('#', 2)
      const target = file === '' ? path : normalize(`${dirname(path)}/${file}`)
      t.true(there.has(target), `${path}: ${href}`)
      if (anchor !== undefined) t.true(files.get(target)?.includes(`id="${anchor}"`), `${path}: ${href}`)
    }
  }
})

test('what is in a document is text, not HTML', t => {
  const [first, ...others] = pages.map(page =>
    page.path === 'README.md' ? readPage(page.path, '# <b>\n\n<script>') : page,
  )
  const { files } = buildSite(first === undefined ? [] : [first, ...others])
  const html = files.get(htmlPath('README.md')) ?? ''
  t.true(html.includes('<title>&lt;b&gt; - tsvmm</title>'))
  t.false(html.includes('<script>'))
})
