import { once } from 'node:events'
import { Socket } from 'node:net'
import test from 'ava'
import type { MachineRam } from '../machine/build.ts'
import type { LateRam, RamReceiver } from '../memory/ram-transfer.ts'
import { addon } from '../native/addon.ts'
import { LateArrival } from './late-arrival.ts'
import { encodePages } from './missing-pages.ts'

const ranges = [{ guestAddress: 0, sizeBytes: 64 * 4096 }]
const receiver: RamReceiver = { counters: () => ({ bytesReceived: 0, pagesReceived: 0 }), close: () => {} }

function arrival(createLate: MachineRam['createLate'], faults: number) {
  const ram = { ranges, createLate }
  const missing = encodePages(new Uint8Array(8))
  return new LateArrival({
    ...{ ram, receiver, faults, missing, peerTimeoutMs: 1 },
    onBroken: () => {},
    onComplete: () => {},
  })
}

test('memory that nobody can be asked for is given up at once', t => {
  const steps: string[] = []
  const late: LateRam = {
    createReceiver: () => receiver,
    askAt: () => {
      throw new Error('no thread')
    },
    missing: () => new Uint8Array(),
    abandon: () => {},
    close: () => steps.push('close'),
  }
  t.throws(() => arrival(() => late, -1), { message: 'no thread' })
  t.deepEqual(steps, ['close'])
})

test('where memory cannot come later nothing is left open', async t => {
  const [faults, other] = addon().socketPair()
  const fails = () => {
    throw new Error('no userfaultfd')
  }
  t.throws(() => arrival(fails, faults), { message: 'no userfaultfd' })
  await once(new Socket({ fd: other }).resume(), 'end')
})
