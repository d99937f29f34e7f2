import { execFileSync } from 'node:child_process'
import test from 'ava'
import { belongsInLab, quote } from './images.ts'

test('the lab gets sources, bundles and the addon, but neither modules, history nor objects', t => {
  const inside = ['', 'src', 'src/a/b.ts', 'dist/tsvmm.js', 'build', 'build/tsvmm.node', 'build/release']
  for (const path of [...inside, 'build/release/native_tests']) t.true(belongsInLab(path), path)
  const outside = ['.git', 'node_modules', 'results/x', 'build/asan', 'build/tidy', 'build/release/CMakeFiles']
  for (const path of [...outside, 'build/release/libcore.a']) t.false(belongsInLab(path), path)
})

test('a quoted word reaches a program as it was', t => {
  const word = `it's "$HOME" \`x\` \\ *\n two`
  t.is(execFileSync('sh', ['-c', `printf %s ${quote(word)}`], { encoding: 'utf8' }), word)
})
