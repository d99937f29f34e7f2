import { spawn } from 'node:child_process'
import test from 'ava'
import { longestGap, Ticks } from './ticks.ts'

test('ticks are read out of whatever else is printed, and one that was cut counts', async t => {
  const script =
    "printf '45.000001\\r\\nlog 12:00:01.123456789 [x]\\n1795454523.0'; sleep 0.1; printf '00250\\n'; sleep 10"
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ticks = new Ticks(child, 'a shell')
  t.is((await ticks.next()).guestMs, 45_000.001)
  if (ticks.all.length === 1) await ticks.next()
  t.deepEqual(
    ticks.all.map(({ guestMs }) => guestMs),
    [45_000.001, 1_795_454_523_000.25],
  )
})

test('a program that ends is told from a guest that is silent', async t => {
  const child = spawn('sh', ['-c', 'echo it is broken >&2; exit 3'], { stdio: ['ignore', 'pipe', 'pipe'] })
  await t.throwsAsync(new Ticks(child, 'a shell').next(), { message: /a shell ended with 3:[\s\S]*it is broken/ })
})

test('the longest gap is that since a time of the host, by each clock', t => {
  const at = (hostMs: number, ms: number) => ({ hostMs, guestMs: 1.8e12 + ms })
  const ticks = [
    at(0, 1000),
    at(500, 1500),
    at(510, 1510),
    at(600, 1513),
    { hostMs: 605, guestMs: 23_000.5 },
    at(610, 1530),
    at(620, 1540),
  ]
  t.deepEqual(longestGap(ticks, 515), { hostMs: 90, guestMs: 17 })
  t.deepEqual(longestGap(ticks, 0), { hostMs: 500, guestMs: 500 })
})
