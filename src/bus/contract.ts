import test, { type ExecutionContext } from 'ava'
import type { AddressSpace, Bus } from './bus.ts'
import type { AccessWidth, RegisterWindow, Span } from './registers.ts'

/** A bus and a guest that makes single accesses to it. */
export interface BusUnderTest {
  readonly bus: Bus
  read(space: AddressSpace, address: number, width: AccessWidth): Promise<number>
  write(space: AddressSpace, address: number, width: AccessWidth, value: number): Promise<void>
  /** Returns when what was posted has reached its device. */
  settle(): Promise<void>
  close(): Promise<void>
}

/** Addresses that the guest of every bus can reach; below 0x100 and from 0xd0000 on. */
const port = 0x40
const memory = 0xd_0000

interface Recorder extends RegisterWindow {
  /** `read 2/1` for a byte read at offset 2, `write 0/4=7` for a write. */
  readonly seen: string[]
  spans: readonly Span[]
}

function recorder(sizeBytes: number, spans: readonly Span[], answer = 0): Recorder {
  const seen: string[] = []
  return {
    ...{ name: 'recorder', sizeBytes, bytes: new Uint8Array(sizeBytes), spans, seen },
    read: (offset, width) => {
      seen.push(`read ${offset}/${width}`)
      return answer
    },
    write: (offset, width, value) => seen.push(`write ${offset}/${width}=${value}`),
  }
}

function span(offset: number, lengthBytes: number, read: Span['read'], write: Span['write'], rest = {}): Span {
  return { offset, lengthBytes, read, write, ...rest }
}

/** What every bus promises (src/bus/registers.ts), as tests named after `name`. */
export function busContract(name: string, open: () => BusUnderTest): void {
  const promise = (title: string, check: (t: ExecutionContext, guest: BusUnderTest) => Promise<void>) =>
    test(`${name}: ${title}`, async t => {
      const guest = open()
      try {
        await check(t, guest)
      } finally {
        await guest.close()
      }
    })

  promise('what no window or no span covers reads as ones and ignores writes', async (t, guest) => {
    const window = recorder(4, [span(0, 1, 'trap', 'trap')])
    guest.bus.map('pio', port, window)
    t.is(await guest.read('pio', port + 8, 4), 0xffff_ffff)
    t.is(await guest.read('pio', port + 2, 2), 0xffff)
    await guest.write('pio', port + 8, 4, 1)
    await guest.write('pio', port + 1, 1, 1)
    t.deepEqual(window.seen, [])
  })

  promise('only the low bytes of an answer count', async (t, guest) => {
    guest.bus.map('pio', port, recorder(4, [span(0, 4, 'trap', 'trap')], -2))
    t.is(await guest.read('pio', port, 1), 0xfe)
    t.is(await guest.read('pio', port, 2), 0xfffe)
    t.is(await guest.read('pio', port, 4), 0xffff_fffe)
  })

  promise('an ECAM span leads to the function that the first register selects', async (t, guest) => {
    const ecam = recorder(0x2000, [span(0, 0x2000, 'bytes', 'trap')])
    ecam.bytes.set([0x11, 0x22, 0x33, 0x44], 0x1008)
    guest.bus.map('mmio', memory, ecam)
    const leads = { ecam: { address: memory, buses: 1 } }
    guest.bus.map('pio', port, recorder(8, [span(0, 4, 'bytes', 'bytes'), span(4, 4, 'ecam', 'ecam', leads)]))

    t.is(await guest.read('pio', port + 4, 4), 0xffff_ffff, 'not enabled')
    await guest.write('pio', port, 4, 0x8000_0108)
    t.is(await guest.read('pio', port + 4, 4), 0x4433_2211)
    t.is(await guest.read('pio', port + 6, 1), 0x33)
    await guest.write('pio', port + 6, 2, 0x1234)
    t.deepEqual(ecam.seen, [`write ${0x100a}/2=${0x1234}`])
    await guest.write('pio', port, 4, 0x8000_0208)
    t.is(await guest.read('pio', port + 4, 2), 0xffff, 'no such function')
    await guest.write('pio', port, 4, 0x8001_0108)
    t.is(await guest.read('pio', port + 4, 1), 0xff, 'no such bus')
  })

  promise('bytes answer reads, little-endian, and take the writable bits of writes', async (t, guest) => {
    const mask = Uint8Array.of(0xff, 0x0f, 0, 0xff)
    const window = recorder(4, [span(0, 4, 'bytes', 'bytes', { mask })])
    window.bytes.set([0x11, 0x22, 0x33, 0x44])
    guest.bus.map('mmio', memory, window)
    t.is(await guest.read('mmio', memory, 4), 0x4433_2211)
    await guest.write('mmio', memory, 4, 0xaabb_ccdd)
    await guest.write('mmio', memory + 2, 1, 0xff)
    t.deepEqual([...window.bytes], [0xdd, 0x2c, 0x33, 0xaa])
    t.is(await guest.read('mmio', memory + 1, 2), 0x332c)
    t.deepEqual(window.seen, [])
  })

  promise('writes trap, are posted in order before a later trap, or are ignored', async (t, guest) => {
    const window = recorder(3, [span(0, 1, 'trap', 'post'), span(1, 1, 'trap', 'trap'), span(2, 1, 'bytes', 'ignore')])
    guest.bus.map('pio', port, window)
    await guest.write('pio', port, 1, 1)
    await guest.write('pio', port, 1, 2)
    await guest.write('pio', port + 2, 1, 9)
    await guest.read('pio', port + 1, 1)
    await guest.write('pio', port + 1, 1, 3)
    await guest.write('pio', port, 1, 4)
    await guest.settle()
    t.deepEqual(window.seen, ['write 0/1=1', 'write 0/1=2', 'read 1/1', 'write 1/1=3', 'write 0/1=4'])
  })

  promise('an indexed span answers with the word of its table that the first byte numbers', async (t, guest) => {
    const indexed = { tableOffset: 8, entries: 2 }
    const mask = Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0x0f)
    const data = span(4, 4, 'indexed', 'change', { indexed, mask })
    const window = recorder(16, [span(0, 4, 'bytes', 'bytes'), data])
    window.bytes.set([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88], 8)
    guest.bus.map('mmio', memory, window)
    t.is(await guest.read('mmio', memory + 4, 4), 0x4433_2211)
    await guest.write('mmio', memory, 4, 1)
    t.is(await guest.read('mmio', memory + 4, 4), 0x8877_6655)
    t.is(await guest.read('mmio', memory + 4, 2), 0, 'not a whole word')
    await guest.write('mmio', memory + 4, 4, 0xf800_0000)
    await guest.write('mmio', memory + 4, 2, 0xffff)
    t.deepEqual(window.seen, [], 'nothing that can be written changes')
    await guest.write('mmio', memory + 4, 4, 0x0900_0000)
    await guest.write('mmio', memory, 4, 2)
    t.is(await guest.read('mmio', memory + 4, 4), 0, 'no such word')
    await guest.write('mmio', memory + 4, 4, 0xffff_ffff)
    t.deepEqual(window.seen, [`write 4/4=${0x0900_0000}`])
  })

  promise('a write that changes nothing does not reach a device that hears of changes', async (t, guest) => {
    const mask = Uint8Array.of(0xff, 0x0f, 0, 0xff)
    const window = recorder(4, [span(0, 4, 'bytes', 'change', { mask })])
    window.bytes.set([0x11, 0x22, 0x33, 0x44])
    guest.bus.map('pio', port, window)
    await guest.write('pio', port, 4, 0x44ff_f211)
    await guest.write('pio', port + 2, 1, 0xff)
    t.deepEqual(window.seen, [])
    await guest.write('pio', port + 1, 2, 0x0023)
    await guest.write('pio', port, 1, 0x10)
    t.deepEqual(window.seen, ['write 1/2=35', 'write 0/1=16'])
    t.deepEqual([...window.bytes], [0x11, 0x22, 0x33, 0x44], 'the device decides what becomes of it')
  })

  promise('an access across spans and windows is cut where they meet', async (t, guest) => {
    const first = recorder(3, [span(0, 2, 'trap', 'trap'), span(2, 1, 'bytes', 'bytes')], 0x2211)
    const second = recorder(4, [span(0, 4, 'trap', 'trap')], 0x44)
    guest.bus.map('mmio', memory, first)
    guest.bus.map('mmio', memory + 3, second)
    first.bytes[2] = 0x33
    t.is(await guest.read('mmio', memory, 4), 0x4433_2211)
    await guest.write('mmio', memory, 4, 0xddcc_bbaa)
    t.deepEqual(first.seen, ['read 0/2', `write 0/2=${0xbbaa}`])
    t.deepEqual(second.seen, ['read 0/1', `write 0/1=${0xdd}`])
    t.is(first.bytes[2], 0xcc)
  })

  promise('an access that begins before a window reaches it', async (t, guest) => {
    const window = recorder(4, [span(0, 4, 'trap', 'trap')], 0x5544)
    guest.bus.map('mmio', memory + 3, window)
    t.is(await guest.read('mmio', memory, 4), 0x44ff_ffff)
    t.is(await guest.read('mmio', memory + 2, 4), 0x4455_44ff)
    t.deepEqual(window.seen, ['read 0/1', 'read 0/2', 'read 2/1'])
  })

  promise('the spaces are apart', async (t, guest) => {
    guest.bus.map('pio', port, recorder(1, [span(0, 1, 'trap', 'trap')], 7))
    guest.bus.map('mmio', memory, recorder(1, [span(0, 1, 'trap', 'trap')], 8))
    t.is(await guest.read('pio', port, 1), 7)
    t.is(await guest.read('mmio', memory, 1), 8)
  })

  promise('windows do not overlap, whether mapped or moved', async (t, guest) => {
    const first = recorder(4, [span(0, 4, 'trap', 'trap')], 1)
    const second = { ...recorder(4, [span(0, 4, 'trap', 'trap')], 2), name: 'other' }
    guest.bus.map('pio', port, first)
    const refusal = { code: 'ERR_BUS_OVERLAP', message: /^other at pio 0x\w+ overlaps recorder$/ }
    t.throws(() => guest.bus.map('pio', port + 3, second), refusal)
    const mapped = guest.bus.map('pio', port + 4, second)
    t.throws(() => mapped.move(port + 1), refusal)
    t.is(mapped.address, port + 4)
    t.is(await guest.read('pio', port + 4, 1), 2)
  })

  promise('a window answers where it was moved to and nowhere once unmapped', async (t, guest) => {
    const mapped = guest.bus.map('pio', port, recorder(4, [span(0, 4, 'trap', 'trap')], 1))
    mapped.move(port + 2)
    t.is(await guest.read('pio', port, 1), 0xff)
    t.is(await guest.read('pio', port + 5, 1), 1)
    mapped.unmap()
    mapped.unmap()
    t.is(await guest.read('pio', port + 5, 1), 0xff)
  })

  promise('changed spans count from updateSpans on', async (t, guest) => {
    const window = recorder(1, [span(0, 1, 'trap', 'trap')], 5)
    const mapped = guest.bus.map('pio', port, window)
    window.bytes[0] = 6
    window.spans = [span(0, 1, 'bytes', 'ignore')]
    t.is(await guest.read('pio', port, 1), 5)
    mapped.updateSpans()
    t.is(await guest.read('pio', port, 1), 6)
  })
}
