import GithubSlugger from 'github-slugger'
import MarkdownIt, { type Token } from 'markdown-it'

/** A document in Markdown, as the site shows it and as the checks read it. */
export interface Page {
  /** From the root of the checkout: `docs/guides/disks.md`. */
  readonly path: string
  readonly tokens: readonly Token[]
  readonly headings: readonly Heading[]
  readonly links: readonly Link[]
  readonly fences: readonly Fence[]
}

export interface Heading {
  readonly level: number
  readonly text: string
  /** As GitHub makes them, so that links work there, too. */
  readonly anchor: string
}

export interface Link {
  readonly target: string
  readonly line: number
}

/** A block of code with what its opening fence says that it is. */
export interface Fence {
  readonly language: string
  readonly text: string
  /** Where its text begins. */
  readonly line: number
}

export const markdown = new MarkdownIt({ html: false, linkify: false })

export function readPage(path: string, source: string): Page {
  const tokens = markdown.parse(source, {})
  const slugger = new GithubSlugger()
  const headings: Heading[] = []
  const links: Link[] = []
  const fences: Fence[] = []
  for (const [index, token] of tokens.entries()) {
    const line = (token.map?.[0] ?? 0) + 1
    if (token.type === 'heading_open') {
      const text = plainText(tokens[index + 1])
      const anchor = slugger.slug(text)
      token.attrSet('id', anchor)
      headings.push({ level: Number(token.tag.slice(1)), text, anchor })
    } else if (token.type === 'fence') {
      fences.push({ language: token.info.trim(), text: token.content, line: line + 1 })
    } else if (token.type === 'inline') {
      links.push(...targets(token).map(target => ({ target, line })))
    }
  }
  return { path, tokens, headings, links, fences }
}

function plainText(token: Token | undefined): string {
  const children = token?.children ?? []
  return children.map(({ type, content }) => (type === 'text' || type === 'code_inline' ? content : '')).join('')
}

function targets({ children }: Token): string[] {
  return (children ?? []).flatMap(token => {
    const name = token.type === 'link_open' ? 'href' : token.type === 'image' ? 'src' : undefined
    const target = name === undefined ? null : token.attrGet(name)
    return target === null ? [] : [String(target)]
  })
}
