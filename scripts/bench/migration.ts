import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { MigrationSubject } from './migration-subjects.ts'
import type { Samples } from './report.ts'
import type { Guest } from './subjects.ts'
import { TickingProcess } from './ticking-process.ts'
import { longestGap } from './ticks.ts'

/** Until the guest, and what booted it, have come to rest. */
const settleMs = 3_000
const firstPort = 47_100

/** Guests that write to memory all the time, at so many MiB a second; 0 is one that only tells the time. */
export const dirtyRates = [0, 4, 16, 64] as const

/**
 * For the kernel's command line: an init that prints the guest's time of day every 10 ms and writes to memory at this rate: a
 * third of what it writes is noise, each time other noise at each place.
 */
export function writingInit(mebibytesPerSecond: number): string {
  const tick = 'mkfifo /never; exec 3<>/never; while :; do read -t 0.01 x <&3; echo $EPOCHREALTIME; done'
  return `rdinit=/bin/sh -- -c "${mebibytesPerSecond === 0 ? '' : writer(mebibytesPerSecond)}${tick}"`
}

/** 32 MiB are written over and over, a piece every 250 ms, out of 24 MiB from a place that moves. */
function writer(mebibytesPerSecond: number): string {
  const pieces = Math.max(1, mebibytesPerSecond / 4)
  return [
    'for i in 1 2 3 4 5 6 7 8; do head -c 1M /dev/urandom; head -c 2M /dev/zero | tr \\\\0 $i; done > /from;',
    'cp /from /to; cat /from >> /to;',
    `(n=0; while :; do n=$((n+1)); dd if=/from of=/to bs=4k count=${pieces * 256} skip=$((n*37%${6144 - pieces * 256}))`,
    `seek=$((n*${pieces * 256}%${8192 - pieces * 256})) conv=notrunc status=none; sleep 0.2; done) & `,
  ].join(' ')
}

/** Moves a guest from one process to another over the loopback interface. Every run boots anew. */
export async function benchMigration(
  subjects: readonly MigrationSubject[],
  guestOf: (mebibytesPerSecond: number) => Guest,
  runs: number,
  samples: Samples,
): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const rate of dirtyRates) {
      for (const subject of subjects) {
        console.error(`${new Date().toISOString()} ${subject.name}, ${rate} MiB/s`)
        await move(subject, guestOf(rate), rate, samples)
      }
    }
  }
}

let port = firstPort

async function move(subject: MigrationSubject, guest: Guest, rate: number, samples: Samples): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  const [near, far] = [join(directory, 'near'), join(directory, 'far')]
  port += 1
  try {
    await using source = new TickingProcess(subject.name, subject.source(guest, near))
    await source.ticks.next()
    await delay(settleMs)
    await using destination = new TickingProcess(subject.name, subject.destination(guest, far, port))
    using _receiving = await subject.receive(far, port)
    await delay(settleMs)
    const [begunMs, before] = [performance.now(), loopbackBytes()]
    const arrived = destination.ticks.next()
    await subject.send(near, port)
    const [totalMs, bytes] = [performance.now() - begunMs, loopbackBytes() - before]
    await arrived
    await delay(settleMs / 3)
    const gap = longestGap([...source.ticks.all, ...destination.ticks.all], begunMs)
    const add = (name: string, unit: string, value: number) =>
      samples.add(rate === 0 ? name : `${name}_${rate}MiBps`, subject.name, unit, 'lower', value)
    add('migration_time', 'ms', totalMs)
    add('migration_bytes', 'bytes', bytes)
    add('migration_downtime', 'ms', gap.guestMs)
    add('migration_standstill', 'ms', gap.hostMs)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** What has gone over the loopback interface so far. */
function loopbackBytes(): number {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find(each => each.trimStart().startsWith('lo:'))
  return Number(line?.split(':')[1]?.trim().split(/\s+/)[0])
}
