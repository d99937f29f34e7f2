import { PassThrough } from 'node:stream'
import test from 'ava'
import type { TerminalSize } from '../backends/chardev.ts'
import { TerminalChardev } from '../backends/terminal-chardev.ts'
import { FakeChardev } from '../backends/testing/fake-chardev.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { deviceStatus } from './common-config.ts'
import { consoleFeatures, VirtioConsole } from './console.ts'
import { commonFeatures } from './device.ts'
import { aBoard } from './testing/board.ts'
import { FakeBackend } from './testing/fake-backend.ts'

const receive = 0
const transmit = 1
const { version1 } = commonFeatures

class ResizableChardev extends FakeChardev {
  size: TerminalSize = { columns: 80, rows: 25 }
  #onSize: (size: TerminalSize) => void = () => {}

  onResize(listener: (size: TerminalSize) => void): void {
    this.#onSize = listener
  }

  resize(columns: number, rows: number): void {
    this.size = { columns, rows }
    this.#onSize(this.size)
  }
}

function aConsole<C extends FakeChardev>(chardev: C) {
  const backend = new FakeBackend()
  const board = aBoard(new VirtioConsole({ name: '__console', chardev, createBackend: backend.serve }))
  board.driver.pci.enable(true)
  const text = () => backend.take().map(({ bytes }) => Buffer.from(bytes).toString('latin1'))
  return { ...board, backend, chardev, text, give: (head: number, size = 64) => backend.offer(receive, head, [], size) }
}

async function aRunningConsole() {
  const board = aConsole(new FakeChardev())
  await board.driver.begin(board.queues)
  return board
}

test('it has two queues and a size only where the other end is a terminal', t => {
  const plain = aConsole(new FakeChardev()).device
  t.is(plain.type, 3)
  t.deepEqual(plain.queueSizes, [256, 256])
  t.is(plain.features & consoleFeatures.size, 0n)
  const { device, driver } = aConsole(new ResizableChardev())
  t.is(device.features & consoleFeatures.size, consoleFeatures.size)
  t.is(driver.readConfig(0, 2), 80)
  t.is(driver.readConfig(2, 2), 25)
  t.is(driver.readConfig(4, 4), 0, 'one port')
})

test('output goes to the other end, and its buffer back to the driver', async t => {
  const { backend, chardev } = await aRunningConsole()
  backend.offer(transmit, 5, Buffer.from('hello'), 0)
  t.is(chardev.output, 'hello')
  t.deepEqual(backend.take(), [{ queue: transmit, head: 5, bytes: [] }])
})

test('input fills the buffers in the order in which the driver gave them', async t => {
  const { backend, chardev, give } = await aRunningConsole()
  give(7, 4)
  give(8, 4)
  chardev.type('abcdef')
  t.deepEqual(backend.take(), [
    { queue: receive, head: 7, bytes: [...Buffer.from('abcd')] },
    { queue: receive, head: 8, bytes: [...Buffer.from('ef')] },
  ])
})

test('input that came in pieces goes into one buffer', async t => {
  const { chardev, give, text } = await aRunningConsole()
  for (const piece of ['a', 'bc', 'd']) chardev.type(piece)
  give(1)
  t.deepEqual(text(), ['abcd'])
})

test('a buffer without room goes back empty and takes nothing', async t => {
  const { chardev, give, text } = await aRunningConsole()
  chardev.type('ab')
  give(1, 0)
  give(2, 1)
  give(3)
  t.deepEqual(text(), ['', 'a', 'b'])
})

test('input waits for a driver that is not there yet', async t => {
  const { driver, queues, chardev, give, text } = aConsole(new FakeChardev())
  chardev.type('early')
  await driver.begin(queues)
  t.deepEqual(text(), [])
  give(1)
  t.deepEqual(text(), ['early'])
})

test('input that comes during a reset waits for the next driver', async t => {
  const { backend, driver, queues, chardev, give, text } = await aRunningConsole()
  give(1)
  backend.holdStops()
  driver.write('deviceStatus', 0)
  chardev.type('between ')
  await backend.release()
  chardev.type('drivers')
  t.deepEqual(text(), [])
  await driver.begin(queues)
  give(2)
  t.deepEqual(text(), ['between drivers'])
})

test('input that comes while the machine is paused is there when it goes on', async t => {
  const { transport, chardev, give, text } = await aRunningConsole()
  give(1)
  await transport.pause()
  chardev.type('later')
  t.deepEqual(text(), [])
  transport.resume()
  give(2)
  t.deepEqual(text(), ['later'])
})

test('input waits for a driver whose receive queue is broken', async t => {
  const { backend, driver, queues, chardev, give, text } = await aRunningConsole()
  give(1)
  backend.fail(receive, 'a loop')
  t.is(driver.status & deviceStatus.needsReset, deviceStatus.needsReset)
  chardev.type('kept')
  t.deepEqual(text(), [])
  await driver.begin(queues)
  give(2)
  t.deepEqual(text(), ['kept'])
})

test('input waits on the host while the driver takes none, and comes again when it does', async t => {
  const { chardev, give, text } = await aRunningConsole()
  chardev.type('x'.repeat(4095))
  t.true(chardev.isInputWanted)
  chardev.type('yz')
  t.false(chardev.isInputWanted)
  give(1, 2)
  t.true(chardev.isInputWanted)
  give(2, 8192)
  t.deepEqual(text(), ['xx', `${'x'.repeat(4093)}yz`])
})

test('a large piece of input is taken as it is', async t => {
  const { chardev, give, text } = await aRunningConsole()
  chardev.type('x'.repeat(1_000_000))
  give(1, 2_000_000)
  t.is(text()[0]?.length, 1_000_000)
})

test('a new size of the terminal is told by the configuration and an interrupt (§5.3.4)', async t => {
  const { driver, queues, chardev, interrupts } = aConsole(new ResizableChardev())
  await driver.begin(queues, version1 | consoleFeatures.size)
  chardev.resize(132, 43)
  t.is(driver.readConfig(0, 4), 132 + 43 * 0x1_0000)
  t.is(driver.read('configGeneration'), 2)
  t.is(driver.readIsr(), 2)
  t.deepEqual(interrupts(), [0])
  chardev.resize(132, 43)
  t.deepEqual(interrupts(), [], 'the same size is no change')
})

test('a size survives resets: it is the terminal’s', async t => {
  const { driver, chardev, transport } = aConsole(new ResizableChardev())
  chardev.resize(100, 30)
  await driver.reset()
  t.is(driver.readConfig(0, 2), 100)
  await transport.pause()
  transport.reset()
  driver.pci.enable(true)
  t.is(driver.readConfig(0, 2), 100)
})

test('a terminal that is resized reaches the guest', async t => {
  const output = Object.assign(new PassThrough(), { columns: 80, rows: 25 })
  const chardev = new TerminalChardev({ input: new PassThrough(), output, onEnd: () => {} })
  const backend = new FakeBackend()
  const { device, driver, queues, transport, interrupts } = aBoard(
    new VirtioConsole({ name: '__console', chardev, createBackend: backend.serve }),
  )
  await driver.begin(queues, version1 | consoleFeatures.size)
  t.is(driver.readConfig(0, 4), 80 + 25 * 0x1_0000)
  // What a terminal's stream does at SIGWINCH.
  Object.assign(output, { columns: 120, rows: 50 }).emit('resize')
  t.is(driver.readConfig(0, 4), 120 + 50 * 0x1_0000)
  t.deepEqual(interrupts(), [0])
  await transport.close()
  await device.close()
  t.notThrows(() => output.emit('resize'))
})

test('closing closes the other end', async t => {
  const { transport, device, chardev } = await aRunningConsole()
  await transport.close()
  await device.close()
  t.true(chardev.isClosed)
  t.notThrows(() => chardev.type('late'))
})

test('a guest that was saved on another terminal hears of the size', async t => {
  const { device, driver, queues, transport, interrupts } = aConsole(new ResizableChardev())
  await driver.begin(queues, version1 | consoleFeatures.size)
  await transport.pause()
  moveState(device, device)
  device.resume()
  t.deepEqual(interrupts(), [], 'the same size')
  const { state } = device
  if (state.kind !== 'saved') return t.fail()
  state.part.load({ columns: 40, rows: 10 })
  device.resume()
  transport.resume()
  t.deepEqual(interrupts(), [0])
  holdsItsState(t, device)
})
