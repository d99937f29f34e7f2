import test from 'ava'
import { execa } from 'execa'

const program = new URL('./tsvmm.ts', import.meta.url).pathname
const olderNode = 'data:text/javascript,Object.defineProperty(process.versions, "node", { value: "20.20.2" })'

test('a Node that is too old is told so in one line', async t => {
  const { exitCode, stderr } = await execa(process.execPath, ['--import', olderNode, program, '--kernel', 'vmlinux'], {
    reject: false,
  })
  t.is(stderr, 'tsvmm: error: Node 20.20.2 is too old, 24 or newer is needed')
  t.is(exitCode, 1)
})
