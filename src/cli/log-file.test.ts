import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openLog } from './log-file.ts'

const { O_RDONLY, O_NONBLOCK } = constants

function aFifo(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-log-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'log')
  execFileSync('mkfifo', [path])
  return path
}

test('a file that takes no more loses lines, and that is all', t => {
  using opened = openLog('/dev/full', 0)
  t.notThrows(() => opened.log.warn('lost'))
})

test('a FIFO whose reader has gone loses lines until there is another', t => {
  const path = aFifo(t)
  const first = openSync(path, O_RDONLY | O_NONBLOCK)
  using opened = openLog(path, 0)
  closeSync(first)
  t.notThrows(() => opened.log.warn('lost'))
  const second = openSync(path, O_RDONLY | O_NONBLOCK)
  opened.log.warn('heard')
  const bytes = Buffer.alloc(100)
  t.regex(bytes.toString('utf8', 0, readSync(second, bytes)), /^tsvmm: \S+s: WARN: heard\n$/)
  closeSync(second)
})

test('standard error whose reader has gone does not end the program', async t => {
  const script = `
    import { once } from 'node:events'
    import { setTimeout as wait } from 'node:timers/promises'
    import { openLog } from '${new URL('log-file.ts', import.meta.url)}'
    await once(process.stdin, 'data')
    const { log } = openLog(undefined, 0)
    for (let line = 0; line < 3; line += 1) {
      log.warn('lost')
      await wait(10)
    }
    console.log('it goes on')
    process.exit()`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script])
  child.stderr.destroy()
  await once(child.stderr, 'close')
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stdin.write('go')
  t.deepEqual(await once(child, 'close'), [0, null])
  t.is(output, 'it goes on\n')
})
