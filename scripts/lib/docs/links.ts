import { dirname, normalize } from 'node:path/posix'
import type { Page } from './page.ts'

/** Something wrong in a document: `docs/guides/disks.md:12: there is no docs/x.md`. */
export type Finding = string

/**
 * Links of documents to each other that lead nowhere: to files that `exists` denies, and to headings that a document has not.
 * Addresses of other hosts are left alone.
 */
export function brokenLinks(pages: readonly Page[], exists: (path: string) => boolean): Finding[] {
  const byPath = new Map(pages.map(page => [page.path, page]))
  return pages.flatMap(({ path, links }) =>
    links.flatMap(({ target, line }) => {
      if (/^[a-z]+:/.test(target)) return []
      const [file = '', anchor] = decodeURI(target).split('#', 2)
      const linked = file === '' ? path : normalize(`${dirname(path)}/${file}`)
      const where = `${path}:${line}`
      if (!exists(linked)) return [`${where}: there is no ${linked}`]
      const headings = byPath.get(linked)?.headings
      if (anchor === undefined || headings?.some(each => each.anchor === anchor) === true) return []
      return [`${where}: ${linked} has no heading #${anchor}`]
    }),
  )
}
