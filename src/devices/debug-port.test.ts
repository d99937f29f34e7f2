import test from 'ava'
import { SoftwareBus } from '../bus/software-bus.ts'
import { describeDebugCode } from '../util/debug-code.ts'
import { DebugPort } from './debug-port.ts'

function aPort() {
  const bus = new SoftwareBus()
  const clock = { nowMs: 1000 }
  const codes: string[] = []
  const port = new DebugPort(
    (code, elapsedSeconds) => codes.push(describeDebugCode(code, elapsedSeconds)),
    () => clock.nowMs,
  )
  bus.map('pio', 0x80, port)
  return { bus, clock, codes }
}

test('a code is told with the time since the machine was built, without a trap', t => {
  const { bus, clock, codes } = aPort()
  clock.nowMs += 96.537
  bus.write('pio', 0x80, 1, 0x40)
  bus.deliverPosted()
  t.is(bus.counters.trapped, 0)
  t.deepEqual(codes, ['[Debug I/O port: Kernel code 0x40] 0.096537 seconds'])
})

test('the code’s range names the stage', t => {
  const { bus, codes } = aPort()
  for (const code of [0x00, 0x1f, 0x20, 0x3f, 0x40, 0x5f, 0x60, 0x7f, 0x80, 0xff]) bus.write('pio', 0x80, 1, code)
  bus.deliverPosted()
  const both = (stage: string) => [stage, stage]
  t.deepEqual(
    codes.map(text => /: (\w+) code/.exec(text)?.[1]),
    ['Firmware', 'Bootloader', 'Kernel', 'Userspace', 'Custom'].flatMap(both),
  )
})

test('the port reads as zero', t => {
  const { bus } = aPort()
  bus.write('pio', 0x80, 1, 0x41)
  t.is(bus.read('pio', 0x80, 1), 0)
})
