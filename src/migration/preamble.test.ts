import test from 'ava'
import fc from 'fast-check'
import { decodePreamble, encodePreamble, preambleBytes } from './preamble.ts'

const id = '000102030405060708090a0b0c0d0e0f'

test('a preamble is what the protocol says', t => {
  const bytes = encodePreamble({ role: 'memory', number: 3, id })
  t.is(preambleBytes, 32)
  t.is(Buffer.from(bytes).toString('hex'), `${Buffer.from('TSVMMIG1').toString('hex')}0100000003000000${id}`)
  t.deepEqual(decodePreamble(bytes), { role: 'memory', number: 3, id })
})

test('other bytes are none', t => {
  const bytes = encodePreamble({ role: 'control', number: 0, id })
  t.is(decodePreamble(bytes.subarray(1)), undefined)
  t.is(decodePreamble(bytes.with(0, 0)), undefined)
  t.is(decodePreamble(bytes.with(8, 4)), undefined)
  t.is(decodePreamble(bytes.with(11, 1)), undefined)
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), any => t.is(decodePreamble(any), undefined)))
})
