import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { apiDocument } from './lib/docs/api-page.ts'
import { readPages } from './lib/docs/checks.ts'
import { buildSite } from './lib/docs/site.ts'

/** Makes the site of the documents in site/: plain pages for any web server, or none. */
const root = new URL('..', import.meta.url).pathname
const out = join(root, 'site')

rmSync(out, { recursive: true, force: true })
const { files, linked } = buildSite(readPages(root))
const write = (path: string, contents: string) => {
  mkdirSync(dirname(join(out, path)), { recursive: true })
  writeFileSync(join(out, path), contents)
}
for (const [path, html] of files) write(path, html)
for (const path of linked) cpSync(join(root, path), join(out, path), { recursive: true })
write('openapi.json', `${JSON.stringify(apiDocument, null, 2)}\n`)
cpSync(join(root, 'resources/docs/style.css'), join(out, 'style.css'))
console.log(`${files.size} pages in ${out}`)
