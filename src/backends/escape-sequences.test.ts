import test from 'ava'
import fc from 'fast-check'
import { EscapeSequences, type Typed } from './escape-sequences.ts'

const text = (typed: readonly Typed[]) =>
  typed.map(each => (typeof each === 'string' ? `<${each}>` : Buffer.from(each).toString('latin1'))).join('')
const parse = (input: string) => text(new EscapeSequences().parse(Buffer.from(input, 'latin1')))

test('Ctrl-A x ends, Ctrl-A b breaks, in order with what is typed around them', t => {
  t.is(parse('one\x01btwo\x01xthree'), 'one<break>two<end>three')
})

test('Ctrl-A twice is Ctrl-A, and before any other key it is the guest’s', t => {
  t.is(parse('\x01\x01x'), '\x01x')
  t.is(parse('\x01d'), '\x01d')
  t.is(parse('\x01\x01\x01x'), '\x01<end>')
})

test('a sequence may be cut anywhere', t => {
  const keys = fc.string({ unit: fc.constantFrom('\x01', 'x', 'b', 'k', '\xff') })
  fc.assert(
    fc.property(keys, fc.nat(20), (typed, cut) => {
      const escapes = new EscapeSequences()
      const parts = [typed.slice(0, cut), typed.slice(cut)]
      t.is(text(parts.flatMap(part => escapes.parse(Buffer.from(part, 'latin1')))), parse(typed))
    }),
  )
})

test('without Ctrl-A everything is the guest’s', t => {
  fc.assert(
    fc.property(fc.uint8Array(), bytes => {
      const plain = bytes.filter(byte => byte !== 1)
      t.deepEqual(new EscapeSequences().parse(plain), plain.length === 0 ? [] : [plain])
    }),
  )
})
