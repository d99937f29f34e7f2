import test from 'ava'
import { own } from './own.ts'

test('a table has what was put into it and nothing that every object inherits', t => {
  const table: Readonly<Record<string, string>> = { net: '--net' }
  t.is(own(table, 'net'), '--net')
  for (const key of ['disk', 'constructor', 'toString', '__proto__', 'hasOwnProperty'])
    t.is(own(table, key), undefined, key)
  t.is(own<string>(undefined, 'net'), undefined)
})
