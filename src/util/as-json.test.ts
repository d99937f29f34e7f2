import test from 'ava'
import { asJson } from './as-json.ts'

test('JSON has large numbers and bytes in hexadecimal', t => {
  const state = { tsc: 2n ** 63n, regs: Uint8Array.of(0, 255), list: [{ on: true, name: 'x', none: null }] }
  t.deepEqual(asJson(state), {
    tsc: '0x8000000000000000',
    regs: '00ff',
    list: [{ on: true, name: 'x', none: null }],
  })
})
