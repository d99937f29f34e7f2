import test, { type ExecutionContext } from 'ava'
import { blkFeatures } from './blk.ts'
import { deviceStatus } from './common-config.ts'
import { commonFeatures } from './device.ts'
import { ram } from './testing/board.ts'
import { aServedConsole, aServedDisk, until } from './testing/served-board.native.ts'
import { descriptorFlags, type GuestBuffer, type SplitQueue } from './testing/split-queue.ts'

const { next, writable, indirect } = descriptorFlags
const { version1, indirectDescriptors } = commonFeatures
const { needsReset } = deviceStatus
const end = ram.guestAddress + ram.sizeBytes
/** Where the guest keeps its buffers: nothing may change there that it did not offer. */
const data = ram.guestAddress + ram.sizeBytes / 2
const dataBytes = 0x1_0000
const tables = data + dataBytes

/** What a hostile driver puts into a queue, and what the engine says to it. */
const rings: Readonly<Record<string, { reason: string; features?: bigint; offer(queue: SplitQueue): void }>> = {
  'a descriptor that is its own next': {
    reason: 'a descriptor chain loops',
    offer: queue => {
      queue.writeDescriptor(0, { address: data, lengthBytes: 16, flags: next, next: 0 })
      queue.offer(0)
    },
  },
  'two descriptors in a circle': {
    reason: 'a descriptor chain loops',
    offer: queue => {
      queue.writeDescriptor(3, { address: data, lengthBytes: 16, flags: next, next: 4 })
      queue.writeDescriptor(4, { address: data, lengthBytes: 16, flags: next, next: 3 })
      queue.offer(3)
    },
  },
  'a buffer behind memory': {
    reason: 'a buffer outside guest memory',
    offer: queue => queue.offerChain(0, [{ address: end, lengthBytes: 16 }]),
  },
  'a buffer that begins in memory and ends outside': {
    reason: 'a buffer outside guest memory',
    offer: queue => queue.offerChain(0, [{ address: end - 15, lengthBytes: 16 }]),
  },
  'a buffer to be written outside memory': {
    reason: 'a buffer outside guest memory',
    offer: queue =>
      queue.offerChain(0, [
        { address: data, lengthBytes: 16 },
        { address: ram.guestAddress - 1, lengthBytes: 512, isWritable: true },
      ]),
  },
  'a buffer at the end of all addresses': {
    reason: 'a buffer outside guest memory',
    offer: queue => {
      queue.writeDescriptor(0, { address: 2n ** 64n - 8n, lengthBytes: 16, flags: 0 })
      queue.offer(0)
    },
  },
  'a chain of 4 GiB': {
    reason: 'a descriptor chain of 4 GiB or more',
    offer: queue =>
      queue.offerChain(0, [
        { address: data, lengthBytes: 16 },
        { address: data, lengthBytes: 0xffff_ffff, isWritable: true },
      ]),
  },
  'a head outside the table': {
    reason: "a chain's head is outside the descriptor table",
    offer: queue => queue.offer(queue.sizeEntries),
  },
  'a next outside the table': {
    reason: "a descriptor's next is outside the descriptor table",
    offer: queue => {
      queue.writeDescriptor(0, { address: data, lengthBytes: 16, flags: next, next: 0xffff })
      queue.offer(0)
    },
  },
  'an indirect table that loops': {
    reason: 'an indirect descriptor chain loops',
    offer: queue => {
      queue.writeDescriptor(0, { address: tables, lengthBytes: 32, flags: indirect })
      queue.writeDescriptor(0, { address: data, lengthBytes: 16, flags: next, next: 1 }, tables)
      queue.writeDescriptor(1, { address: data, lengthBytes: 16, flags: next, next: 0 }, tables)
      queue.offer(0)
    },
  },
  'an indirect table longer than any queue': {
    reason: 'an indirect table that is too long',
    offer: queue => {
      queue.writeDescriptor(0, { address: tables, lengthBytes: 1025 * 16, flags: indirect })
      queue.offer(0)
    },
  },
  'an indirect table outside memory': {
    reason: 'an indirect table outside guest memory',
    offer: queue => {
      queue.writeDescriptor(0, { address: end, lengthBytes: 16, flags: indirect })
      queue.offer(0)
    },
  },
  'an indirect table that was not negotiated': {
    reason: 'an indirect descriptor although the feature was not negotiated',
    features: 0n,
    offer: queue => {
      queue.writeDescriptor(0, { address: data, lengthBytes: 16, flags: indirect })
      queue.offer(0)
    },
  },
  'a readable buffer behind a writable one': {
    reason: 'a readable descriptor behind a writable one',
    offer: queue => {
      queue.writeDescriptor(0, { address: data, lengthBytes: 16, flags: writable | next, next: 1 })
      queue.writeDescriptor(1, { address: data, lengthBytes: 16, flags: 0 })
      queue.offer(0)
    },
  },
  'more available chains than the queue holds': {
    reason: 'the available index runs ahead by more than the queue size',
    offer: queue => queue.offer(...new Array<number>(queue.sizeEntries + 1).fill(0)),
  },
}

function opened<B extends { close(): Promise<void> }>(t: ExecutionContext, board: B): B {
  t.teardown(() => board.close())
  return board
}

/** The common end of all: the device says that it is broken, has touched nothing, and begins anew. */
async function checkBroken(
  t: ExecutionContext,
  board: ReturnType<typeof aServedDisk> | ReturnType<typeof aServedConsole>,
  queueIndex: number,
  { reason, features = indirectDescriptors, offer }: (typeof rings)[string],
): Promise<void> {
  const { driver, queues, memory, reasons } = board
  const queue = queues[queueIndex]
  if (queue === undefined) throw new Error(`the device has no queue ${queueIndex}`)
  await driver.begin(queues, version1 | features)
  const before = memory.read(data, dataBytes)
  const generation = driver.read('configGeneration')
  reasons.length = 0
  offer(queue)
  driver.notify(queueIndex)
  await board.interrupted(0)
  t.deepEqual(reasons, [`${queueIndex}: ${reason}`])
  t.is(driver.status & needsReset, needsReset)
  t.is(driver.readIsr(), 2)
  t.is(driver.read('configGeneration'), generation)
  t.is(queue.usedIndex(), 0)
  t.false(board.isInterrupted(queueIndex + 1))
  t.deepEqual(memory.read(data, dataBytes), before)
  driver.notify(queueIndex)
}

/** Reads the second sector through a queue and waits for its interrupt. */
async function checkDiskWorks(t: ExecutionContext, board: ReturnType<typeof aServedDisk>, queueIndex: number) {
  const { driver, queues, memory } = board
  await driver.begin(queues, version1 | blkFeatures.flush)
  t.is(driver.status & needsReset, 0)
  const header = new Uint8Array(16)
  header[8] = 1
  memory.write(data, header)
  memory.fill(data + 0x1000, 0xee, 513)
  queues[queueIndex]?.offerChain(0, [
    { address: data, lengthBytes: 16 },
    { address: data + 0x1000, lengthBytes: 512, isWritable: true },
    { address: data + 0x1200, lengthBytes: 1, isWritable: true },
  ])
  driver.notify(queueIndex)
  await board.interrupted(queueIndex + 1)
  t.is(queues[queueIndex]?.usedIndex(), 1)
  t.deepEqual(queues[queueIndex]?.used(0), { id: 0, lengthBytes: 513 })
  t.is(Buffer.from(memory.read(data + 0x1000, 12)).toString(), 'disk content')
  t.is(memory.read(data + 0x1200, 1)[0], 0)
}

/** Sends a line through the transmit queue and takes one from the other. */
async function checkConsoleWorks(t: ExecutionContext, board: ReturnType<typeof aServedConsole>) {
  const { driver, queues, memory, chardev } = board
  await driver.begin(queues)
  t.is(driver.status & needsReset, 0)
  memory.write(data, Buffer.from('hello'))
  chardev.writes.length = 0
  queues[1]?.offerChain(2, [{ address: data, lengthBytes: 5 }])
  driver.notify(1)
  await board.interrupted(2)
  t.is(chardev.output, 'hello')
  queues[0]?.offerChain(0, [{ address: data + 0x100, lengthBytes: 16, isWritable: true }])
  driver.notify(0)
  chardev.type('typed')
  await board.interrupted(1)
  t.deepEqual(queues[0]?.used(0), { id: 0, lengthBytes: 5 })
  t.is(Buffer.from(memory.read(data + 0x100, 5)).toString(), 'typed')
}

test('a disk whose driver makes a hostile ring needs a reset, and works after it', async t => {
  const board = opened(t, aServedDisk())
  for (const ring of Object.values(rings)) {
    await checkBroken(t, board, 1, ring)
    await checkDiskWorks(t, board, 1)
  }
})

test('what is no request at all breaks a disk as well', async t => {
  const board = opened(t, aServedDisk())
  const header = { address: data, lengthBytes: 16 }
  const malformed: readonly (readonly [string, readonly GuestBuffer[]])[] = [
    ['a block request without a whole header', [{ ...header, lengthBytes: 15 }]],
    ['a block request without a status byte', [header]],
  ]
  for (const [reason, buffers] of malformed) {
    await checkBroken(t, board, 0, { reason, offer: queue => queue.offerChain(0, buffers) })
    await checkDiskWorks(t, board, 0)
  }
})

test('a disk goes on serving its other queues while one is broken', async t => {
  const board = opened(t, aServedDisk())
  const { driver, queues, memory } = board
  const loop = rings['two descriptors in a circle']
  if (loop === undefined) return t.fail()
  await checkBroken(t, board, 0, loop)
  memory.write(data, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0))
  queues[1]?.offerChain(0, [
    { address: data, lengthBytes: 16 },
    { address: data + 0x1000, lengthBytes: 513, isWritable: true },
  ])
  driver.notify(1)
  await board.interrupted(2)
  t.is(Buffer.from(memory.read(data + 0x1000, 12)).toString(), 'disk content')
})

test('a console whose driver makes a hostile ring needs a reset, and works after it', async t => {
  const board = opened(t, aServedConsole())
  for (const ring of Object.values(rings)) {
    for (const queue of [0, 1]) {
      await checkBroken(t, board, queue, ring)
      await checkConsoleWorks(t, board)
    }
  }
})

test('a console takes no more than a mebibyte at once', async t => {
  const board = opened(t, aServedConsole())
  const large = Array.from({ length: 3 }, () => ({ address: ram.guestAddress, lengthBytes: ram.sizeBytes / 2 }))
  const reason = 'a chain with more readable bytes than allowed'
  await checkBroken(t, board, 1, { reason, offer: queue => queue.offerChain(0, large) })
  await checkConsoleWorks(t, board)
})

test('a console refuses a chain that it has not given back', async t => {
  const board = opened(t, aServedConsole())
  const reason = 'a chain offered again before it went back'
  const offer = (queue: SplitQueue) => {
    queue.offerChain(0, [{ address: data, lengthBytes: 16, isWritable: true }])
    queue.offer(0)
  }
  await checkBroken(t, board, 0, { reason, offer })
  await checkConsoleWorks(t, board)
})

test('rings that are not in memory or not aligned are refused at DRIVER_OK', async t => {
  const board = opened(t, aServedDisk())
  const { driver, queues } = board
  const [queue] = queues
  if (queue === undefined) return t.fail()
  const wrong = [
    { queueDescriptors: end },
    { queueDescriptors: 2 ** 52 },
    { queueDescriptors: queue.descriptorTable + 1 },
    { queueDriver: end - 2 },
    { queueDevice: 0 },
    { queueDevice: queue.usedRing + 2 },
    { queueDriver: Number.MAX_SAFE_INTEGER },
  ]
  driver.pci.enable(true)
  for (const fields of wrong) {
    await driver.reset()
    driver.negotiate(version1)
    driver.enableMsix(3)
    driver.write('configVector', 0)
    driver.setUpQueue(1, queue, 2)
    driver.write('queueSelect', 0)
    driver.write('queueSize', queue.sizeEntries)
    driver.write('queueDescriptors', queue.descriptorTable)
    driver.write('queueDriver', queue.availableRing)
    driver.write('queueDevice', queue.usedRing)
    for (const [field, value] of Object.entries(fields)) {
      if (field === 'queueDescriptors' || field === 'queueDriver' || field === 'queueDevice') driver.write(field, value)
    }
    driver.write('queueEnable', 1)
    driver.addStatus(deviceStatus.driverOk)
    t.is(driver.status & needsReset, needsReset, JSON.stringify(fields))
    await board.interrupted(0)
    await checkDiskWorks(t, board, 0)
  }
})

test('what is in flight is finished at a pause, and the queues go on where they were', async t => {
  const board = opened(t, aServedDisk())
  const { driver, queues, transport } = board
  await checkDiskWorks(t, board, 0)
  await transport.pause()
  queues[0]?.offer(0)
  driver.notify(0)
  t.is(queues[0]?.usedIndex(), 1)
  transport.resume()
  await until('the second request', () => queues[0]?.usedIndex() === 2)
  t.deepEqual(queues[0]?.used(1), { id: 0, lengthBytes: 513 })
})
