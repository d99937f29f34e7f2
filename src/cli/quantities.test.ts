import test from 'ava'
import { inBinaryUnits, inDigits } from './quantities.ts'

test('bytes are in the largest unit that leaves a whole', t => {
  const texts = [0, 1, 1023, 1024, 1536, 512 * 2 ** 20, 2 ** 30, 2 ** 50].map(inBinaryUnits)
  t.deepEqual(texts, ['0 B', '1 B', '1023 B', '1 KiB', '1.5 KiB', '512 MiB', '1 GiB', '1024 TiB'])
})

test('decimals are where they tell something', t => {
  t.deepEqual([0, 7, 7.25, 99.96, 123.4].map(inDigits), ['0', '7', '7.3', '100.0', '123'])
})
