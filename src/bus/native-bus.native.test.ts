import test from 'ava'
import { addon } from '../native/addon.ts'
import { NativeBus } from './native-bus.native.ts'
import type { RegisterWindow } from './registers.ts'

class Device implements RegisterWindow {
  readonly name: string
  readonly sizeBytes = 4
  readonly bytes = new Uint8Array(4)
  readonly spans = [{ offset: 0, lengthBytes: 4, read: 'trap', write: 'trap' }] as const
  readonly written: number[] = []

  constructor(name: string) {
    this.name = name
  }

  read(offset: number): number {
    return offset + 100
  }

  write(_: number, __: number, value: number): void {
    this.written.push(value)
  }
}

function aBus() {
  const kvm = new (addon().Kvm)('/dev/kvm')
  const vm = kvm.createVm()
  kvm.close()
  return { bus: new NativeBus(vm), [Symbol.dispose]: () => vm.close() }
}

test('an overlap names both windows, whoever came first', t => {
  using aMachine = aBus()
  aMachine.bus.map('pio', 0x3f8, new Device('serial'))
  const second = aMachine.bus.map('pio', 0x400, new Device('clock'))
  const overlap = { code: 'ERR_BUS_OVERLAP', message: /clock at pio 0x3f6 overlaps serial/ }
  t.throws(() => second.move(0x3f6), overlap)
  t.is(second.address, 0x400)
  t.throws(() => aMachine.bus.map('pio', 0x403, new Device('third')), { message: /third at pio 0x403 overlaps clock/ })
})

test('the spaces are apart, and an unmapped or moved window leaves its place free', t => {
  using aMachine = aBus()
  const { bus } = aMachine
  const first = bus.map('pio', 0x10, new Device('first'))
  bus.map('mmio', 0x10, new Device('second'))
  first.move(0x12)
  bus.map('pio', 0xe, new Device('third'))
  first.unmap()
  first.unmap()
  bus.map('pio', 0x12, new Device('fourth'))
  t.pass()
})

test('a write that was posted to a window before it went is nobody’s', t => {
  using aMachine = aBus()
  const { bus } = aMachine
  const device = new Device('gone')
  const mapped = bus.map('pio', 0x10, device)
  bus.write(1, 0, 4, 7)
  t.is(bus.read(1, 3, 1), 103)
  mapped.unmap()
  bus.write(1, 0, 4, 8)
  t.is(bus.read(1, 3, 1), 0xffff_ffff)
  t.deepEqual(device.written, [7])
})
