import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { takeSnapshot } from './startup-snapshot.ts'

test("a snapshot's closures run after others of the same source, whichever have run before it", async t => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-startup-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const script = join(folder, 'script.cjs')
  const blob = join(folder, 'blob')
  writeFileSync(
    script,
    `const make = (name) => () => ({ get name() { return name } })
    const [ran, rests] = [make('ran'), make('rests')]
    ran()
    require('node:v8').startupSnapshot.setDeserializeMainFunction(() => {
      console.log([make('made')(), ran(), rests()].map(({ name }) => name).join())
    })`,
  )
  await takeSnapshot({ node: process.execPath, script, args: [], blob })
  const { stdout } = await execa(process.execPath, ['--snapshot-blob', blob, 'program'])
  t.is(stdout, 'made,ran,rests')
})
