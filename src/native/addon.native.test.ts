import test from 'ava'
import { execa } from 'execa'

const program = new URL('../cli/tsvmm.ts', import.meta.url).pathname

test('an addon that this host cannot load is one line that says why', async t => {
  const { stderr, exitCode } = await execa(process.execPath, [program, '--kernel', 'x'], {
    env: { TSVMM_ADDON: '/etc/passwd' },
    reject: false,
    stdin: 'ignore',
  })
  t.is(stderr, 'tsvmm: error: native addon: /etc/passwd: invalid ELF header')
  t.is(exitCode, 1)
})
