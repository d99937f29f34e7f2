import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { apiPage } from './api-page.ts'
import { wrongCommands } from './commands.ts'
import { brokenLinks, type Finding } from './links.ts'
import { type Page, readPage } from './page.ts'

const places = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/**/*.md']

/** It is made, and no file. */
const apiPagePath = 'docs/reference/openapi.md'

/** All documents of a checkout. */
export function readPages(root: string): Page[] {
  const paths = globSync(places, { cwd: root }).toSorted()
  const pages = paths.map(path => readPage(path, readFileSync(join(root, path), 'utf8')))
  return [...pages, readPage(apiPagePath, apiPage())]
}

/** What is wrong in the documents of a checkout. */
export function checkDocuments(root: string): Finding[] {
  const pages = readPages(root)
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const exists = (path: string) => path === apiPagePath || existsSync(join(root, path))
  return [...brokenLinks(pages, exists), ...wrongCommands(pages, { npmScripts: new Set(Object.keys(scripts)), exists })]
}
