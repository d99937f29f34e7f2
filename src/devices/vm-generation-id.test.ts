import test from 'ava'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { VmGenerationId } from './vm-generation-id.ts'

function anId(first = 1) {
  const log: string[] = []
  let next = first
  const id = new VmGenerationId({
    write: bytes => log.push(Buffer.from(bytes).toString('hex')),
    notify: () => log.push('notified'),
    random: lengthBytes => new Uint8Array(lengthBytes).fill(next++),
  })
  return { id, log }
}

const filled = (digits: string) => digits.repeat(16)

test('it is in memory from the start and after every reset, the same', async t => {
  const { id, log } = anId()
  id.place()
  await id.pause()
  id.resume()
  await id.pause()
  id.reset()
  id.place()
  t.deepEqual(log, [filled('01'), filled('01')])
  await id.close()
})

test('a new one is in memory before the guest is told', t => {
  const { id, log } = anId()
  id.renew()
  t.deepEqual(log, [filled('02'), 'notified'])
})

test('it travels; nothing is written or told by that alone', t => {
  const one = anId(7)
  const other = anId(9)
  moveState(one.id, other.id)
  t.deepEqual(other.log, [])
  other.id.place()
  t.deepEqual(other.log, [filled('07')])
  holdsItsState(t, one.id)
})

test('the host draws another for each machine', t => {
  const ids = new Set<string>()
  for (let count = 0; count < 3; count += 1) {
    const write = (bytes: Uint8Array) => ids.add(Buffer.from(bytes).toString('hex'))
    new VmGenerationId({ write, notify: () => {} }).place()
  }
  t.is(ids.size, 3)
})
