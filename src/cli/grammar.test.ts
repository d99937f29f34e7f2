import test from 'ava'
import fc from 'fast-check'
import { hintFor, listItems, quote, splitList, unquote } from './grammar.ts'

const refuse = (reason: string): never => {
  throw new Error(reason)
}

test('commas in brackets and quotes do not cut', t => {
  t.deepEqual(splitList('a,b=[1,2],c="x,y",d', refuse), ['a', 'b=[1,2]', 'c="x,y"', 'd'])
  t.deepEqual(splitList('', refuse), [''])
})

test('what is opened must be closed', t => {
  t.throws(() => splitList('a=[1,2', refuse), { message: 'a=[1,2: a bracket has no partner' })
  t.throws(() => splitList('a=1],b', refuse), { message: 'a=1],b: a bracket has no partner' })
  t.throws(() => splitList('a="b,c', refuse), { message: 'a="b,c: a quote has no partner' })
})

test('brackets in quotes are text', t => {
  t.deepEqual(splitList('a="[",b', refuse), ['a="["', 'b'])
})

test('quotes may stand anywhere in a value, and a doubled one is a quote', t => {
  t.is(unquote('a"b,c"d'), 'ab,cd')
  t.is(unquote('"say ""no"""'), 'say "no"')
})

test('a single item needs no brackets', t => {
  t.deepEqual(listItems('a', refuse), ['a'])
  t.deepEqual(listItems('[]', refuse), [])
  t.deepEqual(listItems('[a,[b,c]]', refuse), ['a', '[b,c]'])
  t.throws(() => listItems('[a', refuse))
})

test('the nearest known word is suggested, a far one is not', t => {
  t.is(hintFor('readnly', ['path', 'readonly']), '; did you mean readonly?')
  t.is(hintFor('colour', ['path', 'readonly']), '')
})

test('any text survives quoting', t => {
  fc.assert(fc.property(fc.string(), text => unquote(quote(text)) === text))
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), texts => {
      t.deepEqual(splitList(texts.map(quote).join(','), refuse).map(unquote), texts)
    }),
  )
})
