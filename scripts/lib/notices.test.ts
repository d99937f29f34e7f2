import test from 'ava'
import { bundledNotices, nativeNotices } from './notices.ts'

const root = new URL('../..', import.meta.url).pathname

test('each package that is bundled is named, once, with its licence', t => {
  const inputs = [
    'src/index.ts',
    'node_modules/zod/v4/core/util.js',
    'node_modules/zod/v4/mini/index.js',
    'builtin:node:fs',
  ]
  const notices = bundledNotices(root, [...inputs, 'node_modules/commander/index.js'])
  t.deepEqual(
    [...notices.matchAll(/^(\S+) [\d.]+ \(MIT\)\n=+$/gm)].map(([, name]) => name),
    ['commander', 'zod'],
  )
  t.is([...notices.matchAll(/Permission is hereby granted/g)].length, 2)
})

test('so are the libraries inside the addon', t => {
  const notices = nativeNotices()
  for (const name of ['liburing-dev', 'libzstd-dev', 'zlib1g-dev']) t.true(notices.includes(`${name}\n====`), name)
})
