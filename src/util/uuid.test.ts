import test from 'ava'
import { mixedEndianUuid } from './uuid.ts'

test('the first three groups of a UUID are little-endian', t => {
  const bytes = Uint8Array.of(
    0x33,
    0x22,
    0x11,
    0x00,
    0x55,
    0x44,
    0x77,
    0x66,
    0x88,
    0x99,
    0xaa,
    0xbb,
    0xcc,
    0xdd,
    0xee,
    0xff,
  )
  t.deepEqual(mixedEndianUuid('00112233-4455-6677-8899-aabbccddeeff'), bytes)
  t.deepEqual(mixedEndianUuid('00112233445566778899AABBCCDDEEFF'), bytes)
})

test('what is not a UUID is refused', t => {
  const wrong = ['', '0011', '00112233-4455-6677-8899-aabbccddeefg', '0011223-34455-6677-8899-aabbccddeeff']
  for (const text of [...wrong, '00112233-4455-6677-8899-aabbccddeeff\n']) t.is(mixedEndianUuid(text), undefined, text)
})
