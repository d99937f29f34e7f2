import { spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { standingOf } from './stalled.ts'

test('what a process and its children wait for is said', async t => {
  const shell = spawn('sh', ['-c', 'sleep 100 & wait'], { detached: true, stdio: 'ignore' })
  const pid = shell.pid ?? 0
  t.teardown(() => process.kill(-pid, 'SIGKILL'))
  while (!standingOf(pid).some(line => line.includes(' sleep: '))) await delay(10)
  t.regex(standingOf(pid).join('\n'), new RegExp(`^${pid} ${pid} sh: \\S+, system call \\d+\n\\d+ \\d+ sleep: `))
  t.deepEqual(standingOf(-1), [])
})
