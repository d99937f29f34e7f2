import { execFileSync } from 'node:child_process'
import test from 'ava'
import { belongsInLab, quote } from './images.ts'

test('the lab gets sources, bundles and the addon, but neither modules, history nor objects', t => {
  for (const path of ['', 'src', 'src/a/b.ts', 'dist/tsvmm.js', 'build', 'build/tsvmm.node'])
    t.true(belongsInLab(path), path)
  for (const path of ['.git', 'node_modules', 'results/x', 'build/asan', 'build/release/a.o'])
    t.false(belongsInLab(path), path)
})

test('a quoted word reaches a program as it was', t => {
  const word = `it's "$HOME" \`x\` \\ *\n two`
  t.is(execFileSync('sh', ['-c', `printf %s ${quote(word)}`], { encoding: 'utf8' }), word)
})
