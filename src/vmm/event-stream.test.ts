import { EventEmitter } from 'node:events'
import test from 'ava'
import { eventStream } from './event-stream.ts'
import type { VmEvents } from './vm-events.ts'

function aMachine() {
  const machine = new EventEmitter<VmEvents>()
  const { promise: hasEnded, resolve: end } = Promise.withResolvers<void>()
  return { machine, hasEnded, end }
}

test('what happens is kept until it is read, in order, to the end', async t => {
  const { machine, hasEnded, end } = aMachine()
  const events = eventStream(machine, hasEnded, {})
  machine.emit('loaded')
  machine.emit('debug-code', 1, 0.5)
  machine.emit('device-removed', '_disk1')
  machine.emit('exit', { kind: 'power-off' })
  end()
  t.deepEqual(await Array.fromAsync(events), [
    { name: 'loaded', args: [] },
    { name: 'device-removed', args: ['_disk1'] },
    { name: 'exit', args: [{ kind: 'power-off' }] },
  ])
  t.deepEqual(machine.eventNames(), [])
})

test('only those that are asked for, typed by their names', async t => {
  const { machine, hasEnded, end } = aMachine()
  const events = eventStream(machine, hasEnded, { names: ['debug-code', 'booted'] })
  machine.emit('debug-code', 0x21, 0.5)
  machine.emit('paused')
  end()
  for await (const { name, args } of events) if (name === 'debug-code') t.is(args[0], 0x21)
  t.deepEqual(await Array.fromAsync(eventStream(machine, hasEnded, {})), [], 'it has ended')
})

test('who breaks off listens no more, nor does who is aborted', async t => {
  const { machine, hasEnded, end } = aMachine()
  const events = eventStream(machine, hasEnded, {})
  machine.emit('booted')
  for await (const { name } of events) {
    t.is(name, 'booted')
    break
  }
  t.deepEqual(machine.eventNames(), [])
  const { signal, abort } = aController()
  const aborted = eventStream(machine, hasEnded, { signal })
  machine.emit('booted')
  abort(new Error('enough'))
  await t.throwsAsync(Array.fromAsync(aborted), { message: 'enough' })
  t.deepEqual(machine.eventNames(), [])
  t.throws(() => eventStream(machine, hasEnded, { signal }), { message: 'enough' })
  end()
  machine.emit('booted')
})

function aController() {
  const controller = new AbortController()
  return { signal: controller.signal, abort: (reason: Error) => controller.abort(reason) }
}
