import { dirname, normalize, relative } from 'node:path/posix'
import type { Token } from 'markdown-it'
import { markdown, type Page } from './page.ts'
import { decisions, sections } from './sections.ts'

export interface Site {
  /** By path in the site. */
  readonly files: ReadonlyMap<string, string>
  /** Files of the checkout that documents link to, which belong beside them. */
  readonly linked: ReadonlySet<string>
}

/** The site of these documents: a page each, with all others beside it. */
export function buildSite(pages: readonly Page[]): Site {
  const byPath = new Map(pages.map(page => [page.path, page]))
  const linked = new Set<string>()
  const files = new Map<string, string>()
  for (const page of pages) {
    files.set(
      htmlPath(page.path),
      htmlOf(page, contentsOf(byPath, page.path), path => {
        if (byPath.has(path)) return htmlPath(path)
        linked.add(path)
        return path
      }),
    )
  }
  return { files, linked }
}

export function htmlPath(path: string): string {
  return path === 'README.md' ? 'index.html' : path.replace(/\.md$/, '.html')
}

/** The list of all pages, as the one at `from` has it. */
function contentsOf(pages: ReadonlyMap<string, Page>, from: string): string {
  const adrs = [...pages.keys()].filter(path => path.startsWith(decisions)).toSorted()
  const lists = [...sections, { title: 'Decisions', paths: adrs }].map(({ title, paths }) => {
    const items = paths.map(path => {
      const current = path === from ? ' aria-current="page"' : ''
      return `<li><a href="${hrefTo(from, htmlPath(path))}"${current}>${escaped(titleOf(pages.get(path)))}</a></li>`
    })
    return `<details${paths.includes(from) || title !== 'Decisions' ? ' open' : ''}><summary>${title}</summary><ul>${items.join('')}</ul></details>`
  })
  return lists.join('\n')
}

function titleOf(page: Page | undefined): string {
  return page?.headings[0]?.text ?? ''
}

function htmlOf(page: Page, contents: string, place: (path: string) => string): string {
  const tokens = page.tokens.map(token => withLinks(token, page.path, place))
  const body = markdown.renderer.render(tokens, markdown.options, {})
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(titleOf(page))} - tsvmm</title>
<link rel="stylesheet" href="${hrefTo(page.path, 'style.css')}">
</head>
<body>
<nav>
${contents}
</nav>
<main>
${body}</main>
</body>
</html>
`
}

/** Links to documents lead to their pages. */
function withLinks(token: Token, from: string, place: (path: string) => string): Token {
  for (const child of token.children ?? []) {
    const href = child.type === 'link_open' ? child.attrGet('href') : null
    if (href === null || /^([a-z]+:|#)/.test(String(href))) continue
    const [file = '', anchor] = String(href).split('#', 2)
    const target = place(normalize(`${dirname(from)}/${file}`))
    child.attrSet('href', hrefTo(from, target) + (anchor === undefined ? '' : `#${anchor}`))
  }
  return token
}

function hrefTo(from: string, target: string): string {
  return relative(dirname(from), target)
}

function escaped(text: string): string {
  return markdown.utils.escapeHtml(text)
}
