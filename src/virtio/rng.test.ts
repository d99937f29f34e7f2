import test from 'ava'
import { deviceStatus } from './common-config.ts'
import { VirtioRng } from './rng.ts'
import { aBoard } from './testing/board.ts'
import { FakeBackend } from './testing/fake-backend.ts'

const { needsReset } = deviceStatus

/** A source whose reads the test answers. */
async function aRunningRng() {
  const backend = new FakeBackend()
  const reads: {
    readonly lengthBytes: number
    answer(bytes: readonly number[]): Promise<void>
    fail(): Promise<void>
  }[] = []
  const turn = () => new Promise<void>(resolve => setImmediate(resolve))
  let isClosed = false
  const board = aBoard(
    new VirtioRng({
      name: '__rng',
      readRandom: lengthBytes => {
        const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
        reads.push({
          lengthBytes,
          answer: async bytes => {
            resolve(Uint8Array.from(bytes))
            await turn()
          },
          fail: async () => {
            reject(new Error('is at its end'))
            await turn()
          },
        })
        return promise
      },
      createBackend: backend.serve,
      closeSource: async () => {
        isClosed = true
      },
    }),
  )
  board.driver.pci.enable(true)
  await board.driver.begin(board.queues)
  return { ...board, backend, reads, isClosed: () => isClosed }
}

test('it has one queue and no configuration', async t => {
  const { device, driver } = await aRunningRng()
  t.is(device.type, 4)
  t.deepEqual(device.queueSizes, [256])
  t.is(driver.readConfig(0, 4), 0xffff_ffff)
})

test('a buffer is filled with as many bytes as the host has', async t => {
  const { backend, reads } = await aRunningRng()
  backend.offer(0, 3, [], 8)
  t.is(reads[0]?.lengthBytes, 8)
  await reads[0]?.answer([1, 2, 3])
  t.deepEqual(backend.take(), [{ queue: 0, head: 3, bytes: [1, 2, 3] }])
})

test('a request for very much gets a part of it', async t => {
  const { backend, reads } = await aRunningRng()
  backend.offer(0, 3, [], 2 ** 32)
  t.is(reads[0]?.lengthBytes, 65_536)
})

test('a buffer without room goes back without asking the host', async t => {
  const { backend, driver, reads } = await aRunningRng()
  backend.offer(0, 3, [1, 2], 0)
  t.deepEqual(reads, [])
  t.deepEqual(backend.take(), [{ queue: 0, head: 3, bytes: [] }])
  t.is(driver.status & needsReset, 0)
})

test('answers may come in any order', async t => {
  const { backend, reads } = await aRunningRng()
  backend.offer(0, 1, [], 4)
  backend.offer(0, 2, [], 4)
  await reads[1]?.answer([2])
  await reads[0]?.answer([1])
  t.deepEqual(
    backend.take().map(({ head }) => head),
    [2, 1],
  )
})

test('a host without random bytes stops the device until it is reset', async t => {
  const { backend, driver, queues, reads } = await aRunningRng()
  backend.offer(0, 3, [], 8)
  await reads[0]?.fail()
  t.is(driver.status & needsReset, needsReset)
  await driver.begin(queues)
  backend.offer(0, 4, [], 8)
  await reads[1]?.answer([9])
  t.deepEqual(backend.take(), [{ queue: 0, head: 4, bytes: [9] }])
})

test('what the host says to a request of before a reset is nobody’s', async t => {
  const { backend, driver, queues, reads } = await aRunningRng()
  backend.offer(0, 1, [], 8)
  backend.offer(0, 2, [], 8)
  await driver.reset()
  await reads[0]?.fail()
  t.is(driver.status, 0)
  await driver.begin(queues)
  await reads[1]?.fail()
  t.is(driver.status & needsReset, 0)
})

test('what the host says after the end changes nothing', async t => {
  const { backend, device, reads, transport, isClosed } = await aRunningRng()
  backend.offer(0, 1, [], 8)
  backend.offer(0, 2, [], 8)
  await transport.close()
  await device.close()
  t.true(isClosed())
  await reads[0]?.answer([1])
  await reads[1]?.fail()
  t.deepEqual(backend.take(), [])
})
