import test from 'ava'
import { checkDocuments } from './checks.ts'
import { wrongCommands } from './commands.ts'
import { brokenLinks } from './links.ts'
import { readPage } from './page.ts'

test('the documents of this checkout are right', t => {
  t.deepEqual(checkDocuments(new URL('../../..', import.meta.url).pathname), [])
})

const shell = (text: string) => readPage('docs/a.md', `# A\n\n\`\`\`sh\n${text}\n\`\`\`\n`)
const checkout = { npmScripts: new Set(['bench']), exists: (path: string) => path === 'scripts/lab' }
const faults = (text: string) => wrongCommands([shell(text)], checkout)

test('headings have the anchors that GitHub gives them', t => {
  const { headings } = readPage('a.md', '# One `--two` (three)\n\n## Same\n\n## Same\n')
  t.deepEqual(
    headings.map(({ anchor }) => anchor),
    ['one---two-three', 'same', 'same-1'],
  )
})

test('links that lead nowhere are told by file and line', t => {
  const pages = [
    readPage(
      'docs/a.md',
      '# A\n\n[b](guides/b.md#b), [gone](gone.md),\n[self](#a), [none](#none), [web](https://x.org/y)\n',
    ),
    readPage('docs/guides/b.md', '# B\n\n[a](../a.md#nothing) ![picture](p.png)\n'),
  ]
  const exists = (path: string) => pages.some(page => page.path === path)
  t.deepEqual(brokenLinks(pages, exists), [
    'docs/a.md:3: there is no docs/gone.md',
    'docs/a.md:3: docs/a.md has no heading #none',
    'docs/guides/b.md:3: docs/a.md has no heading #nothing',
    'docs/guides/b.md:3: there is no docs/guides/p.png',
  ])
})

test('command lines of tsvmm are parsed as it parses them', t => {
  t.deepEqual(faults('dist/tsvmm --kernel k --memory size=1G --disk path=a,readonly=on'), [])
  t.deepEqual(faults('tsvmm --api-socket s snapshot d,live=on &\nsudo tsvmm restore d --clone 3'), [])
  t.deepEqual(faults('tsvmm --serial socket=s ...'), [])
  for (const [line, reason] of [
    ['tsvmm --kernel k --memory siz=1G', '--memory: unknown key siz; did you mean size?'],
    ['tsvmm --kernal k', "error: unknown option '--kernal'"],
    ['tsvmm --api-socket s snapshot d,life=on', 'snapshot: unknown key life; did you mean live?'],
    ['tsvmm --kernel k --cpus boot=255', '--cpus: boot: at most 254 are possible'],
    ['tsvmm --api-socket s reset', 'error: too many arguments. Expected 0 arguments but got 1: reset.'],
  ] as const) {
    const [fault = ''] = faults(line)
    t.true(fault.startsWith(`docs/a.md:4: ${line}: ${reason}`), fault)
  }
})

test('scripts and endpoints are there', t => {
  t.deepEqual(
    faults('npm run bench -- boot\nnpm test\nscripts/lab -- true\ncurl -X PUT http://localhost/api/v1/vm.boot'),
    [],
  )
  t.deepEqual(faults('npm run bnech\nscripts/lob\ncurl http://localhost/api/v1/vm.boot'), [
    'docs/a.md:4: npm run bnech: there is no script bnech',
    'docs/a.md:4: scripts/lob: there is no scripts/lob',
    'docs/a.md:4: curl http://localhost/api/v1/vm.boot: there is no GET /vm.boot',
  ])
})

test('a block of code says what it is', t => {
  const page = readPage('a.md', '```\nls\n```\n')
  t.deepEqual(wrongCommands([page], checkout), ['a.md:2: the block does not say what it is'])
})
