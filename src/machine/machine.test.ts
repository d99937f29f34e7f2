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

test('what only one machine may have is claimed as a whole or not at all', async t => {
  const log: string[] = []
  const machine = new Machine()
  const disk = (name: string, isTaken = false) => ({
    ...recorder(name, log),
    claim: () => {
      if (isTaken) throw new Error(`${name} is taken`)
      log.push(`claim ${name}`)
    },
    cede: async () => void log.push(`cede ${name}`),
  })
  machine.add(recorder('memory', log))
  machine.add(disk('one'))
  await machine.claim()
  t.deepEqual(log.splice(0), ['claim one'])
  machine.add(disk('two', true))
  await t.throwsAsync(machine.claim(), { message: 'two is taken' })
  t.deepEqual(log, ['claim one', 'cede one', 'cede two'])
})

test('two components cannot share a name', t => {
  const machine = new Machine()
  machine.add(recorder('_disk0', []))
  t.throws(() => machine.add(recorder('_disk0', [])), { code: 'ERR_CONFIG_INVALID', message: /_disk0/ })
})

test('components come and go at any place', async t => {
  const log: string[] = []
  const machine = new Machine()
  machine.add(recorder('memory', log))
  const vcpu = machine.add(recorder('vcpu', log))
  const disk = machine.add(recorder('disk', log), vcpu)
  machine.resume()
  t.deepEqual(log, ['resume memory', 'resume disk', 'resume vcpu'])
  machine.remove(disk)
  machine.remove(disk)
  t.deepEqual(
    machine.components.map(({ name }) => name),
    ['memory', 'vcpu'],
  )
  t.notThrows(() => machine.add(recorder('disk', log)), 'its name is free again')
})

test('a component that goes while the list is walked keeps nobody from their turn', async t => {
  const log: string[] = []
  const machine = new Machine()
  machine.add(recorder('memory', log))
  const disk = machine.add(recorder('disk', log))
  machine.add({
    ...recorder('vcpu', log),
    pause: async () => {
      machine.remove(disk)
      log.push('pause vcpu')
    },
  })
  await machine.pause()
  t.deepEqual(
    log.filter(line => line !== 'pause disk'),
    ['pause vcpu', 'pause memory'],
  )
})

test('a component that fails to close does not keep the others open', async t => {
  const log: string[] = []
  const machine = new Machine()
  machine.add(recorder('memory', log))
  machine.add(recorder('disk', log, 'close'))
  await t.throwsAsync(machine.close(), { message: 'disk cannot close' })
  t.deepEqual(log, ['close disk', 'close memory'])
})
