import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { PlainMachine } from '../snapshot/testing/plain-machine.native.ts'

const program = new URL('./tsvmm.ts', import.meta.url).pathname
const fast = { durability: 'none' } as const

test('a chain is merged by command, in the form that is asked for', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-tools-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const [one, two, whole] = [join(place, 'one'), join(place, 'two'), join(place, 'whole')]
  using machine = await PlainMachine.create()
  machine.write(1, new Uint8Array(4096).fill(1))
  await machine.save(one, fast)
  machine.write(2, new Uint8Array(4096).fill(2))
  await machine.save(two, { ...fast, parent: one })
  const tsvmm = (...args: readonly string[]) =>
    execa(process.execPath, [program, 'snapshot', ...args], { reject: false })
  const { exitCode, stdout, stderr } = await tsvmm('merge', two, `${whole},memory=zstd,level=3,durability=none`)
  t.deepEqual({ exitCode, stdout, stderr }, { exitCode: 0, stdout: '', stderr: '' })
  rmSync(one, { recursive: true })
  t.is((await tsvmm('verify', whole)).exitCode, 0)
  const manifest: unknown = JSON.parse(readFileSync(join(whole, 'manifest.json'), 'utf8'))
  t.like(manifest, { memory: { form: 'zstd' }, features: [] })
  using restored = await PlainMachine.restore(whole, 'copy')
  t.deepEqual(restored.contents(), machine.contents())

  const refused = [
    [[`${whole},parent=${one}`], 'tsvmm: error: snapshot merge: unknown key parent'],
    [[whole], `tsvmm: error: snapshot ${whole}: `],
    [[], "tsvmm: error: missing required argument 'keys'"],
  ] as const
  for (const [args, message] of refused) {
    const answer = await tsvmm('merge', two, ...args)
    t.not(answer.exitCode, 0)
    t.true(answer.stderr.startsWith(message), answer.stderr)
  }
})
