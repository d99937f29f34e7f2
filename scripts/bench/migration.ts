import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Host, Hosts } from '../../integration/harness/hosts.ts'
import type { MigrationSubject } from './migration-subjects.ts'
import { Pinging } from './pinging.ts'
import type { Samples } from './report.ts'
import type { Guest } from './subjects.ts'
import { TickingProcess } from './ticking-process.ts'
import { longestGap } from './ticks.ts'

/** Until the guest, and what booted it, have come to rest. */
const settleMs = 3_000
const port = 4711
const subnet = 205

/** Guests that write to memory all the time, at so many MiB a second; 0 is one that only tells the time. */
const dirtyRates = [0, 4, 16, 64] as const
/** Of machines that are handed over within one host. */
const localMemoryMib = [512, 2048] as const

/**
 * For the kernel's command line: an init that answers at the address, prints the guest's time of day every 10 ms and writes to
 * memory at this rate: a third of what it writes is noise, each time other noise at each place.
 */
export function writingInit(mebibytesPerSecond: number, address: string): string {
  const card = [
    'while read m; do insmod /modules/$m.ko; done < /modules/order;',
    `ip addr add ${address}/24 dev eth0; ip link set eth0 up;`,
  ].join(' ')
  const tick = 'mkfifo /never; exec 3<>/never; while :; do read -t 0.01 x <&3; echo $EPOCHREALTIME; done'
  return `rdinit=/bin/sh -- -c "${card} ${mebibytesPerSecond === 0 ? '' : writer(mebibytesPerSecond)}${tick}"`
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

/** A move that is measured. */
interface Move {
  readonly subject: MigrationSubject
  readonly guest: Guest
  /** Behind the names of its figures. */
  readonly suffix: string
}

/** Moves a guest from one host to another, or from one process to another of the same. Every run boots anew. */
export async function benchMigration(
  subjects: readonly MigrationSubject[],
  guestOf: (init: string) => Guest,
  runs: number,
  samples: Samples,
): Promise<void> {
  await using hosts = await Hosts.create('tsvmb', subnet)
  const guest = (rate: number) => ({ ...guestOf(writingInit(rate, hosts.guestAddress)), tap: hosts.hosts[0].tap })
  const moves = subjects.flatMap((subject): Move[] => {
    if (!subject.isLocal) return []
    return localMemoryMib.map(memoryMib => ({ subject, guest: { ...guest(0), memoryMib }, suffix: `_${memoryMib}MiB` }))
  })
  const remote = subjects.filter(({ isLocal }) => !isLocal)
  for (const rate of dirtyRates) {
    const suffix = rate === 0 ? '' : `_${rate}MiBps`
    moves.push(...remote.map(subject => ({ subject, guest: guest(rate), suffix })))
  }
  for (let run = 0; run < runs; run += 1) {
    for (const each of moves) {
      console.error(`${new Date().toISOString()} ${each.subject.name}${each.suffix}`)
      await measure(each, hosts, samples)
    }
  }
}

async function measure({ subject, guest, suffix }: Move, hosts: Hosts, samples: Samples): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  const [near, far] = [join(directory, 'near'), join(directory, 'far')]
  const [here, other] = hosts.hosts
  const there = subject.isLocal ? here : other
  const url = subject.isLocal ? `unix:${join(directory, 'migration')}` : `tcp:${there.address}:${port}`
  const run = (host: Host, command: readonly string[]) =>
    new TickingProcess(subject.name, [...host.through, ...command])
  try {
    await using source = run(here, subject.source(guest, near))
    await source.ticks.next()
    await using pinging = new Pinging(hosts.guestAddress)
    await delay(settleMs)
    await using destination = run(there, subject.destination(guest, far, url))
    using _receiving = await subject.receive(far, url)
    await delay(settleMs)
    if (!pinging.hasAnswers) throw new Error(`${subject.name}: its guest does not answer`)
    const [begunMs, begunAt, before] = [performance.now(), Date.now(), here.linkBytes()]
    const arrived = destination.ticks.next()
    await subject.send(near, url)
    const [totalMs, bytes] = [performance.now() - begunMs, here.linkBytes() - before]
    await arrived
    await delay(settleMs / 3)
    const gap = longestGap([...source.ticks.all, ...destination.ticks.all], begunMs)
    const add = (name: string, unit: string, value: number) =>
      samples.add(`${subject.isLocal ? 'handover' : 'migration'}_${name}${suffix}`, subject.name, unit, 'lower', value)
    add('time', 'ms', totalMs)
    if (!subject.isLocal) add('bytes', 'bytes', bytes)
    add('downtime', 'ms', gap.guestMs)
    add('standstill', 'ms', gap.hostMs)
    add('ping', 'ms', pinging.longestGapMs(begunAt))
  } finally {
    rmSync(directory, { recursive: true })
  }
}
