import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { randomOf } from '../util/testing/random.ts'
import { SnapshotDirectory } from './directory.ts'
import { verifySnapshot } from './inspect.ts'
import { plainPages } from './testing/plain-machine.native.ts'

const program = new URL('./testing/save-on-and-on.native.ts', import.meta.url).pathname
/** The last one before the kill, and the one that it is in. */
const [whole, torn] = [2, 3]
const kills = 15
const pageBytes = 4096

for (const [how, seed] of [
  ['over', 6],
  ['new', 7],
] as const) {
  test.serial(`whenever the program is killed, a snapshot is there as a whole or not at all (${how})`, async t => {
    t.timeout(300_000)
    const random = randomOf(seed)
    for (let kill = 0; kill < kills; kill += 1) {
      const place = mkdtempSync(join(tmpdir(), 'tsvmm-kill-'))
      try {
        // Also a little after the end.
        const share = 1.1 * random()
        await killedAt(place, how, share)
        const what = `kill ${kill} of seed ${seed}, at ${share.toFixed(3)} of a snapshot`
        const snapshots = readdirSync(place).filter(name => !name.startsWith('.'))
        const expected = how === 'over' ? [['one']] : [before, [...before, `${torn}`]]
        t.true(
          expected.some(names => names.every(name => snapshots.includes(name))),
          `${what}: ${snapshots.join(' ')}`,
        )
        for (const name of snapshots) {
          const path = join(place, name)
          await verifySnapshot(path)
          const [first, last] = numbersIn(path)
          // On a busy machine the process is a few snapshots further than its last line that was read.
          const isPossible = how === 'over' ? first >= whole : first === Number(name)
          t.true(isPossible && last === first, `${what}: ${name} has ${first} and ${last}`)
        }
        // The next snapshot of a name sweeps away what was left of it.
        for (const name of new Set(leftIn(place).map(left => left.slice(1).replace(/\.partial-.*$/, '')))) {
          await using _next = await SnapshotDirectory.create(join(place, name), { durability: 'none', overwrite: true })
        }
        t.deepEqual(leftIn(place), [], what)
      } finally {
        rmSync(place, { recursive: true })
      }
    }
  })
}

const before = Array.from({ length: whole }, (_, index) => `${index + 1}`)

function leftIn(place: string): string[] {
  return readdirSync(place).filter(name => name.startsWith('.'))
}

/** Kills a process that saves again and again `share` of the way through one. */
async function killedAt(place: string, how: string, share: number): Promise<void> {
  const child = spawn(process.execPath, [program, place, how], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const times = new Map<string, number>()
  for await (const line of createInterface(child.stdout)) {
    times.set(line, performance.now())
    if (line !== `begun ${torn}`) continue
    await delay(share * ((times.get(`done ${whole}`) ?? 0) - (times.get(`begun ${whole}`) ?? 0)))
    child.kill('SIGKILL')
    break
  }
  child.kill('SIGKILL')
  await exited
}

function numbersIn(path: string): readonly [number, number] {
  const image = readFileSync(join(path, 'memory.img'))
  return [image.readUInt32LE(0), image.readUInt32LE((plainPages - 1) * pageBytes)]
}
