import test from 'ava'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { Machine } from './machine.ts'

function recorder(name: string, log: string[], failing?: string): Component {
  const note = (verb: string) => {
    log.push(`${verb} ${name}`)
    if (verb === failing) throw new Error(`${name} cannot ${verb}`)
  }
  return {
    name,
    state: stateless,
    pause: async () => note('pause'),
    resume: () => note('resume'),
    reset: () => note('reset'),
    close: async () => note('close'),
  }
}

test('resume and reset walk forwards, pause and close backwards', async t => {
  const log: string[] = []
  const machine = new Machine()
  machine.add(recorder('memory', log))
  machine.add(recorder('disk', log))
  await machine.pause()
  machine.reset()
  machine.resume()
  await machine.close()
  t.deepEqual(log, [
    ...['pause disk', 'pause memory', 'reset memory', 'reset disk'],
    ...['resume memory', 'resume disk', 'close disk', 'close memory'],
  ])
})

test('two components cannot share a name', t => {
  const machine = new Machine()
  machine.add(recorder('_disk0', []))
  t.throws(() => machine.add(recorder('_disk0', [])), { code: 'ERR_CONFIG_INVALID', message: /_disk0/ })
})

test('a component that fails to close does not keep the others open', async t => {
  const log: string[] = []
  const machine = new Machine()
  machine.add(recorder('memory', log))
  machine.add(recorder('disk', log, 'close'))
  await t.throwsAsync(machine.close(), { message: 'disk cannot close' })
  t.deepEqual(log, ['close disk', 'close memory'])
})
