import test from 'ava'
import fc from 'fast-check'
import { apicIdOf, apicIdsOf, flatTopology, shiftsOf } from './topology.ts'

test('without a topology ids count up from 0', t => {
  t.deepEqual(apicIdsOf(4, flatTopology(4)), [0, 1, 2, 3])
  t.is(apicIdsOf(254, flatTopology(254)).at(-1), 253)
})

test('each level has a bit field of its own', t => {
  const topology = { threadsPerCore: 2, coresPerDie: 3, diesPerPackage: 2, packages: 2 }
  t.deepEqual(shiftsOf(topology), { core: 1, die: 3, package: 4 })
  t.deepEqual(
    [0, 1, 2, 5, 6, 11, 12, 23].map(index => apicIdOf(index, topology)),
    [0b00000, 0b00001, 0b00010, 0b00101, 0b01000, 0b01101, 0b10000, 0b11101],
  )
})

test('ids ascend, and none is given twice', t => {
  const count = fc.integer({ min: 1, max: 5 })
  const property = fc.property(count, count, count, count, (threadsPerCore, coresPerDie, diesPerPackage, packages) => {
    const topology = { threadsPerCore, coresPerDie, diesPerPackage, packages }
    const ids = Array.from({ length: threadsPerCore * coresPerDie * diesPerPackage * packages }, (_, index) =>
      apicIdOf(index, topology),
    )
    t.true(ids.every((id, index) => index === 0 || id > (ids[index - 1] ?? 0)))
  })
  fc.assert(property)
})

test('an id that no interrupt could be sent to is refused', t => {
  t.is(apicIdsOf(255, flatTopology(255)).at(-1), 254)
  t.throws(() => apicIdsOf(256, flatTopology(256)), { code: 'ERR_CPUS', message: /vCPU 255 would be 255/ })
  // 64 packages of three cores: their ids are multiples of four.
  const sparse = { threadsPerCore: 1, coresPerDie: 3, diesPerPackage: 1, packages: 70 }
  t.notThrows(() => apicIdsOf(190, sparse))
  t.throws(() => apicIdsOf(210, sparse), { code: 'ERR_CPUS', message: /vCPU 209 would be 278/ })
})

test('more vCPUs than the topology has room for are refused', t => {
  const topology = { threadsPerCore: 2, coresPerDie: 2, diesPerPackage: 1, packages: 1 }
  t.throws(() => apicIdsOf(5, topology), { code: 'ERR_CPUS', message: /room for 4 vCPUs, not 5/ })
})
