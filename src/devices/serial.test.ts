import test from 'ava'
import fc from 'fast-check'
import { FakeChardev } from '../backends/testing/fake-chardev.ts'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { Serial } from './serial.ts'
import {
  interruptEnable as enable,
  interruptId as id,
  lineStatus as line,
  modemControl as modem,
} from './uart-16550.ts'

const base = 0x3f8
const [data, ier, iir, lcr, mcr, lsr, msr, scratch] = [0, 1, 2, 3, 4, 5, 6, 7] as const
const fcr = iir
const fifosOn = 0x01
const divisorLatch = 0x80
const idle = line.transmitEmpty

function aPort() {
  const chardev = new FakeChardev()
  const bus = new SoftwareBus()
  const pin = { isHigh: false, edges: 0 }
  const interrupt = {
    pulse: () => {},
    setLevel: (isAsserted: boolean) => {
      if (isAsserted && !pin.isHigh) pin.edges += 1
      pin.isHigh = isAsserted
    },
  }
  let mapped: { updateSpans(): void } | undefined
  const serial = new Serial({ name: '__serial', interrupt, chardev, onSpans: () => mapped?.updateSpans() })
  mapped = bus.map('pio', base, serial)
  serial.resume()
  const out = (register: number, value: number) => bus.write('pio', base + register, 1, value)
  const inb = (register: number) => bus.read('pio', base + register, 1)
  return {
    ...{ chardev, bus, pin, serial, out, inb },
    print: (text: string) => {
      for (const byte of Buffer.from(text, 'latin1')) out(data, byte)
    },
    /** What a polling driver reads until there is nothing more. */
    receive: () => {
      const bytes: number[] = []
      while ((inb(lsr) & line.dataReady) !== 0) bytes.push(inb(data))
      return Buffer.from(bytes).toString('latin1')
    },
    /** Ends the running JavaScript, as between two turns of the vCPU. */
    turn: async () => {
      bus.deliverPosted()
      await Promise.resolve()
    },
  }
}

test('at power-on the line is idle, nothing is enabled and the other end is there', t => {
  const { inb, pin } = aPort()
  t.deepEqual([ier, iir, lcr, mcr, lsr, msr, scratch].map(inb), [0, id.none, 0x03, 0x08, idle, 0xb0, 0])
  t.is(inb(data), 0)
  t.false(pin.isHigh)
})

test('what is written before the guest looks is one write to the host and no trap', async t => {
  const { print, chardev, bus, turn, inb } = aPort()
  for (const character of 'Linux version\r\n') {
    t.is(inb(lsr) & line.transmitEmpty, line.transmitEmpty)
    print(character)
  }
  t.is(bus.counters.trapped, 0)
  await turn()
  t.deepEqual(chardev.writes, ['Linux version\r\n'])
})

test('output keeps its order across register accesses', async t => {
  const { print, chardev, out, turn } = aPort()
  print('one')
  out(ier, 0)
  print('two')
  await turn()
  t.is(chardev.output, 'onetwo')
})

test('the divisor latch takes the place of data and interrupt enable', t => {
  const { inb, out, chardev, bus } = aPort()
  out(ier, 0x05)
  out(lcr, divisorLatch | 0x03)
  t.deepEqual([inb(data), inb(ier)], [12, 0])
  const { trapped } = bus.counters
  out(data, 0x34)
  out(ier, 0x12)
  t.deepEqual([inb(data), inb(ier)], [0x34, 0x12])
  t.is(bus.counters.trapped, trapped)
  out(lcr, 0x03)
  t.deepEqual([inb(lcr), inb(ier)], [0x03, 0x05])
  out(lcr, divisorLatch)
  t.deepEqual([inb(data), inb(ier)], [0x34, 0x12])
  t.deepEqual(chardev.writes, [])
})

test('scratch is memory and costs no trap; unwritable bits stay zero', t => {
  const { inb, out, bus } = aPort()
  out(scratch, 0xa5)
  t.is(inb(scratch), 0xa5)
  t.is(bus.counters.trapped, 0)
  out(ier, 0xff)
  t.is(inb(ier), 0x0f)
  out(mcr, 0xff)
  t.is(inb(mcr), 0x1f)
  out(lsr, 0xff)
  out(msr, 0xff)
  t.is(inb(lsr), idle)
})

test('enabling the transmitter’s interrupt raises it, and reading the identification acknowledges it', t => {
  const { inb, out, pin } = aPort()
  out(ier, enable.transmitEmpty)
  t.true(pin.isHigh)
  t.is(inb(iir), id.transmitEmpty)
  t.false(pin.isHigh)
  t.is(inb(iir), id.none)
  out(ier, enable.transmitEmpty)
  t.is(inb(iir), id.none)
  out(ier, 0)
  out(ier, enable.transmitEmpty)
  t.is(inb(iir), id.transmitEmpty)
})

test('disabling the transmitter’s interrupt takes it back', t => {
  const { inb, out, pin } = aPort()
  out(ier, enable.transmitEmpty)
  out(ier, 0)
  t.false(pin.isHigh)
  t.is(inb(iir), id.none)
})

test('a driver that fills the transmitter sees it empty again at once, without another edge', t => {
  const { inb, out, pin, print } = aPort()
  out(ier, enable.transmitEmpty)
  t.is(inb(iir), id.transmitEmpty)
  print('0123456789abcdef')
  t.is(inb(iir), id.transmitEmpty)
  print('x')
  t.is(inb(iir), id.transmitEmpty)
  t.is(inb(iir), id.none)
  t.is(pin.edges, 1)
})

test('a driver that writes without looking gets one edge for all of it', async t => {
  const { out, pin, print, turn, inb } = aPort()
  out(ier, enable.transmitEmpty)
  print('abc')
  await turn()
  t.is(pin.edges, 2)
  t.is(inb(iir), id.transmitEmpty)
  print('def')
  await turn()
  t.is(pin.edges, 3)
})

test('sixteen bytes of an interrupt-driven driver cost one trap', t => {
  const { inb, out, print, bus } = aPort()
  out(ier, enable.transmitEmpty)
  inb(iir)
  const { trapped } = bus.counters
  for (let round = 0; round < 10; round += 1) {
    print('0123456789abcdef')
    t.is(inb(lsr), idle)
    t.is(inb(iir), id.transmitEmpty)
  }
  t.is(bus.counters.trapped - trapped, 10)
})

test('an interrupt-driven receiver costs one trap a byte', t => {
  const { inb, out, chardev, bus } = aPort()
  out(ier, enable.received | enable.lineStatus)
  out(fcr, fifosOn)
  const { trapped } = bus.counters
  chardev.type('k')
  t.is(inb(iir), id.received | id.fifosOn)
  t.is(inb(lsr), idle | line.dataReady)
  t.is(inb(data), 'k'.charCodeAt(0))
  t.is(inb(lsr), idle)
  t.is(inb(iir), id.none | id.fifosOn)
  t.is(bus.counters.trapped - trapped, 1)
})

test('without FIFOs the receiver holds one byte, and the rest waits', t => {
  const { chardev, inb, receive } = aPort()
  chardev.type('abc')
  t.is(inb(lsr), idle | line.dataReady)
  t.is(receive(), 'abc')
  t.is(inb(lsr), idle)
  t.is(inb(data), 0)
})

test('received data raises the interrupt while it is there and enabled', t => {
  const { chardev, out, inb, pin } = aPort()
  chardev.type('ab')
  t.false(pin.isHigh)
  out(ier, enable.received)
  t.true(pin.isHigh)
  t.is(inb(iir), id.received)
  inb(data)
  t.true(pin.isHigh)
  inb(data)
  t.false(pin.isHigh)
  t.is(pin.edges, 1)
  chardev.type('c')
  t.is(pin.edges, 2)
  out(ier, 0)
  t.false(pin.isHigh)
})

test('below the trigger level the identification says timeout', t => {
  const { chardev, out, inb } = aPort()
  out(ier, enable.received)
  const levels = [1, 4, 8, 14]
  levels.forEach((bytes, bits) => {
    out(fcr, fifosOn | 0x02 | (bits << 6))
    chardev.type('x'.repeat(bytes))
    t.is(inb(iir), id.received | id.fifosOn, `${bytes} bytes`)
    inb(data)
    if (bytes > 1) t.is(inb(iir), id.receiveTimeout | id.fifosOn, `${bytes - 1} bytes`)
    for (let left = bytes - 1; left > 0; left -= 1) inb(data)
    t.is(inb(iir), id.none | id.fifosOn)
  })
})

test('FIFO control empties the FIFO on request and whenever the FIFOs are turned on or off', t => {
  const { chardev, out, inb } = aPort()
  out(fcr, fifosOn)
  t.is(inb(iir), id.none | id.fifosOn)
  chardev.type('a'.repeat(16))
  out(fcr, fifosOn | 0x02)
  t.is(inb(lsr), idle)
  chardev.type('a'.repeat(16))
  out(fcr, fifosOn)
  t.is(inb(lsr), idle | line.dataReady)
  out(fcr, 0)
  t.is(inb(lsr), idle)
  t.is(inb(iir), id.none)
  // Without its lowest bit the rest of the register means nothing.
  out(fcr, 0xc2)
  chardev.type('b')
  out(ier, enable.received)
  t.is(inb(iir), id.received)
})

test('interrupts are identified in the order of their priority', t => {
  const { chardev, out, inb } = aPort()
  out(mcr, modem.loopback)
  out(mcr, modem.loopback | modem.rts)
  out(mcr, modem.out2)
  out(ier, enable.all)
  chardev.sendBreak()
  t.is(inb(iir), id.lineStatus)
  inb(lsr)
  t.is(inb(iir), id.received)
  inb(data)
  t.is(inb(iir), id.transmitEmpty)
  t.is(inb(iir), id.modemStatus)
  inb(msr)
  t.is(inb(iir), id.none)
})

test('a break is a zero byte whose error is shown when it is next and cleared when read', t => {
  const { chardev, out, inb, pin } = aPort()
  out(fcr, fifosOn)
  out(ier, enable.lineStatus)
  chardev.type('a')
  chardev.sendBreak()
  t.is(inb(lsr), idle | line.dataReady | line.fifoError)
  t.false(pin.isHigh)
  t.is(inb(data), 'a'.charCodeAt(0))
  t.true(pin.isHigh)
  t.is(inb(lsr), idle | line.dataReady | line.breakCondition | line.fifoError)
  t.false(pin.isHigh)
  t.is(inb(lsr), idle | line.dataReady)
  t.is(inb(data), 0)
  t.is(inb(lsr), idle)
})

test('loopback returns what is written, to the guest alone', async t => {
  const { out, inb, print, receive, chardev, turn } = aPort()
  out(fcr, fifosOn)
  out(mcr, modem.loopback)
  chardev.type('typed')
  print('looped')
  await turn()
  t.is(receive(), 'looped')
  t.is(chardev.output, '')
  out(mcr, 0)
  t.is(receive(), 'typed')
  t.is(inb(lsr), idle)
})

test('loopback connects the modem’s outputs to its inputs', t => {
  const { out, inb } = aPort()
  // How Linux finds out that a port is there.
  out(mcr, modem.loopback | modem.out2 | modem.rts)
  t.is(inb(msr) & 0xf0, 0x90)
  out(mcr, modem.loopback | modem.out1 | modem.dtr)
  t.is(inb(msr) & 0xf0, 0x60)
  out(mcr, modem.out2)
  t.is(inb(msr) & 0xf0, 0xb0)
})

test('changes of modem inputs are shown until they are read', t => {
  const { out, inb, bus } = aPort()
  out(mcr, modem.loopback | modem.out1)
  // CTS, DSR and carrier went; that the ring indicator came is no change.
  t.is(inb(msr), 0x40 | 0x0b)
  t.is(inb(msr), 0x40)
  out(mcr, modem.loopback)
  t.is(inb(msr), 0x04)
  const { trapped } = bus.counters
  t.is(inb(msr), 0)
  t.is(bus.counters.trapped, trapped)
})

test('a full receiver loses the newest byte with FIFOs and the oldest without', t => {
  const { out, inb, print, receive, bus } = aPort()
  out(mcr, modem.loopback)
  print('ab')
  bus.deliverPosted()
  t.is(inb(lsr), idle | line.dataReady | line.overrun)
  t.is(inb(lsr), idle | line.dataReady)
  t.is(receive(), 'b')
  out(fcr, fifosOn)
  print('0123456789abcdefg')
  bus.deliverPosted()
  t.is(inb(lsr), idle | line.dataReady | line.overrun)
  t.is(receive(), '0123456789abcdef')
})

test('input beyond 4 KiB waits in the back end until the guest has read', t => {
  const { chardev, receive } = aPort()
  chardev.type('x'.repeat(4096))
  t.true(chardev.isInputWanted)
  chardev.type('y'.repeat(4096))
  t.false(chardev.isInputWanted)
  t.is(receive().length, 8192)
  t.true(chardev.isInputWanted)
})

test('a paused port has handed on all output and takes no input', async t => {
  const { serial, chardev, print, bus, inb, receive } = aPort()
  print('last words')
  bus.deliverPosted()
  await serial.pause()
  await serial.pause()
  t.is(chardev.output, 'last words')
  t.false(chardev.isInputWanted)
  chardev.type('on its way')
  t.is(inb(lsr), idle)
  serial.resume()
  serial.resume()
  t.true(chardev.isInputWanted)
  t.is(receive(), 'on its way')
})

test('reset is power-on, but what waits on the host stays', async t => {
  const { serial, out, inb, chardev, pin, receive } = aPort()
  out(lcr, divisorLatch | 3)
  out(data, 1)
  out(lcr, 3)
  out(scratch, 1)
  out(ier, 0x0f)
  out(fcr, fifosOn)
  out(mcr, 0x1f)
  await serial.pause()
  chardev.type('next boot')
  serial.reset()
  serial.resume()
  t.deepEqual([ier, lcr, mcr, msr, scratch].map(inb), [0, 0x03, 0x08, 0xb0, 0])
  t.is(inb(iir), id.none)
  t.false(pin.isHigh)
  t.is(receive(), 'next boot')
  out(lcr, divisorLatch)
  t.is(inb(data), 12)
})

test('close hands on what was written and closes the back end', async t => {
  const { serial, print, bus, chardev } = aPort()
  print('bye')
  bus.deliverPosted()
  await serial.close()
  t.is(chardev.output, 'bye')
  t.true(chardev.isClosed)
})

test('input arrives complete and in order, however it comes and however the guest reads', t => {
  const step = fc.oneof(
    fc.record({ type: fc.string({ unit: 'binary-ascii', maxLength: 40 }) }),
    fc.record({ read: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ set: fc.constantFrom([ier, 0], [ier, 0x0f], [lcr, 3], [lcr, 0x1b], [scratch, 1]) }),
  )
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 30 }), (hasFifos, steps) => {
      const { chardev, out, inb, receive, pin } = aPort()
      if (hasFifos) out(fcr, fifosOn)
      let typed = ''
      let read = ''
      for (const each of steps) {
        if ('type' in each) {
          chardev.type(each.type)
          typed += each.type
        } else if ('set' in each) {
          out(each.set[0] ?? 0, each.set[1] ?? 0)
        } else {
          for (let count = 0; count < each.read && (inb(lsr) & line.dataReady) !== 0; count += 1) {
            read += String.fromCharCode(inb(data))
          }
        }
        const isReady = (inb(lsr) & line.dataReady) !== 0
        t.is(isReady, typed.length > read.length)
        if (inb(ier) === enable.all && isReady) t.true(pin.isHigh)
      }
      read += receive()
      t.is(read, typed)
    }),
  )
})

test('output arrives complete and in order, and an enabled transmitter never goes silent', async t => {
  const step = fc.oneof(
    fc.record({ print: fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 20 }) }),
    fc.record({ enable: fc.boolean() }),
    fc.record({ look: fc.constantFrom(iir, lsr, msr) }),
    fc.record({ turn: fc.constant(true) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async steps => {
      const { chardev, out, inb, print, turn, pin } = aPort()
      let printed = ''
      let isEnabled = false
      let isAcknowledged = false
      for (const each of steps) {
        if ('print' in each) {
          print(each.print)
          printed += each.print
          isAcknowledged = false
        } else if ('enable' in each) {
          if (each.enable && !isEnabled) isAcknowledged = false
          isEnabled = each.enable
          out(ier, isEnabled ? enable.transmitEmpty : 0)
        } else if ('look' in each) {
          const value = inb(each.look)
          if (each.look !== iir) continue
          t.is(value, isEnabled && !isAcknowledged ? id.transmitEmpty : id.none)
          isAcknowledged ||= isEnabled
        } else {
          await turn()
          t.is(pin.isHigh, isEnabled && !isAcknowledged)
          t.is(chardev.output, printed)
        }
      }
      await turn()
      t.is(chardev.output, printed)
    }),
  )
})

test('a port goes on in another machine: registers, what was not read, and the interrupt', async t => {
  const port = aPort()
  port.out(fcr, fifosOn)
  port.out(lcr, 0x83)
  port.out(data, 0x34)
  port.out(ier, 0x12)
  port.out(lcr, 0x03)
  port.out(scratch, 0x77)
  port.out(ier, 0x01)
  port.chardev.type('ab')
  await port.serial.pause()
  const other = aPort()
  await other.serial.pause()
  moveState(port.serial, other.serial)
  other.serial.resume()
  t.true(other.pin.isHigh)
  t.is(other.inb(scratch), 0x77)
  t.is(other.receive(), 'ab')
  t.false(other.pin.isHigh)
  other.out(lcr, 0x83)
  t.deepEqual([other.inb(data), other.inb(ier)], [0x34, 0x12])
})

test('whatever its state, a port keeps it', async t => {
  const { serial } = aPort()
  await serial.pause()
  holdsItsState(t, serial, { runs: 500 })
})

test('what is typed before a machine goes on is for the guest that was loaded into it', async t => {
  const { serial } = aPort()
  await serial.pause()
  const chardev = new FakeChardev()
  const interrupt = { pulse: () => {}, setLevel: () => {} }
  const other = new Serial({ name: '__serial', interrupt, chardev, onSpans: () => {} })
  chardev.type('early')
  await other.pause()
  moveState(serial, other)
  other.resume()
  t.is(other.read(data, 1), 'e'.charCodeAt(0))
})
