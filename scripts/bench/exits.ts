import { addon } from '../../src/native/addon.ts'
import { op, TinyGuest } from '../../src/native/testing/tiny-guest.native.ts'
import { storeAxToEs, timedLoop } from './exit-loop.ts'
import type { Samples } from './report.ts'

const port = 0x10
const done = 0x40
/** Beyond the guest's RAM. */
const mmio = { segment: 0xd000, address: 0xd_0000 } as const
const samplesAt = 0x3000
/** As many as fit into its RAM. */
const hotExits = 4096
const coldExits = 200
/** Longer than JavaScript or the vCPU ever wait for each other with open eyes (native/bus/trap_channel.cc). */
const coldPauseMs = 3
/** Until the waiting times have adapted. */
const warmUp = 1 / 8

type ExitCounters = ReturnType<TinyGuest['vm']['exitCounters']>

interface ExitPath {
  readonly name: string
  readonly access: readonly number[]
  map(guest: TinyGuest): void
  /** How often the path has been taken; absent where the kernel answers and nobody counts. */
  taken?(counters: ExitCounters): number
  readonly count: number
  readonly pauseMs: number
}

const hot = { count: hotExits, pauseMs: 0 }
const cold = { count: coldExits, pauseMs: coldPauseMs }

const trap = {
  access: op.in8(port),
  map: (guest: TinyGuest) => guest.map('pio', port, { read: () => 7 }),
  // The last one tells that the guest is done.
  taken: (counters: ExitCounters) => counters.trapped - 1,
}
const post = {
  access: op.outAl(port),
  map: (guest: TinyGuest) =>
    guest.map('pio', port, { spans: [{ offset: 0, lengthBytes: 1, read: 'bytes', write: 'post' }], write: () => {} }),
  taken: (counters: ExitCounters) => counters.posted,
}
const bytes = {
  access: op.in8(port),
  map: (guest: TinyGuest) =>
    guest.map('pio', port, { spans: [{ offset: 0, lengthBytes: 1, read: 'bytes', write: 'bytes' }] }),
  taken: (counters: ExitCounters) => counters.bytes,
}
const doorbell = {
  access: storeAxToEs(0),
  map(guest: TinyGuest) {
    const eventFd = new (addon().EventFd)()
    guest.vm.attachDoorbell({ eventFd, space: 'mmio', address: mmio.address, widthBytes: 2 })
    eventFd.close()
  },
}

const paths: readonly ExitPath[] = [
  { name: 'exit_trap', ...trap, ...hot },
  { name: 'exit_trap_cold', ...trap, ...cold },
  { name: 'exit_post', ...post, ...hot },
  { name: 'exit_post_cold', ...post, ...cold },
  { name: 'exit_bytes', ...bytes, ...hot },
  { name: 'exit_doorbell', ...doorbell, ...hot },
]

/** What the guest loses by one access, by the guest's own clock, for each way in which accesses are answered. */
export async function benchExits(runs: number, samples: Samples): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const path of paths) {
      const nanoseconds = await exitTimes(path)
      const total = nanoseconds.reduce((sum, each) => sum + each, 0)
      const [middle = Number.NaN] = nanoseconds.toSorted((a, b) => a - b).slice(nanoseconds.length / 2)
      samples.add(`${path.name}_time`, 'tsvmm', 'ns', 'lower', middle)
      samples.add(`${path.name}_rate`, 'tsvmm', '1/s', 'higher', (nanoseconds.length / total) * 1e9)
    }
  }
}

async function exitTimes(path: ExitPath): Promise<number[]> {
  using guest = new TinyGuest()
  const finished = guest.recordPort(done)
  path.map(guest)
  const vcpu = guest.addVcpu()
  const ticksPerMs = vcpu.tscKilohertz()
  const { count, access } = path
  guest.memory.write(
    guest.instructionPointer(vcpu),
    Uint8Array.from([
      ...timedLoop({ count, access, samplesAt, pauseTicks: path.pauseMs * ticksPerMs, segment: mmio.segment }),
      ...op.outAl(done),
      ...op.haltForever,
    ]),
  )
  guest.run()
  await finished.until(1)
  await guest.park()
  if (guest.errors.length > 0) throw guest.errors[0]
  const taken = path.taken?.(guest.vm.exitCounters()) ?? count
  if (taken !== count) throw new Error(`${path.name}: ${taken} of ${count} accesses went the way that is measured`)
  const ticks = new Uint32Array(guest.memory.read(samplesAt, count * Uint32Array.BYTES_PER_ELEMENT).buffer)
  return Array.from(ticks.subarray(count * warmUp), each => (each / ticksPerMs) * 1e6)
}
