import test from 'ava'
import { nullChardev } from '../backends/chardev.ts'
import { SoftwareBus } from '../bus/software-bus.ts'
import { DebugConsole } from './debug-console.ts'

function aConsole() {
  const bus = new SoftwareBus()
  const written: number[] = []
  const device = new DebugConsole({ ...nullChardev, write: bytes => written.push(...bytes) })
  bus.map('pio', 0xe9, device)
  return { bus, written }
}

test('text goes on without a trap', t => {
  const { bus, written } = aConsole()
  for (const byte of Buffer.from('Booting\n')) bus.write('pio', 0xe9, 1, byte)
  bus.deliverPosted()
  t.is(bus.counters.trapped, 0)
  t.is(Buffer.from(written).toString(), 'Booting\n')
})

test('firmware finds it by what the port reads as', t => {
  const { bus } = aConsole()
  bus.write('pio', 0xe9, 1, 0x41)
  t.is(bus.read('pio', 0xe9, 1), 0xe9)
  t.is(bus.counters.trapped, 0)
})
