import test from 'ava'
import { checkPortable, unportable } from './portable.ts'

const addon = new URL('../../build/tsvmm.node', import.meta.url).pathname

/** As `objdump -p` of binutils 2.40 prints it. */
const headers = `
Dynamic Section:
  NEEDED               liburing.so.2
  NEEDED               libgcc_s.so.1
  NEEDED               libc.so.6
  NEEDED               ld-linux-x86-64.so.2
  SONAME               tsvmm.node

Version References:
  required from libc.so.6:
    0x09691a75 0x00 07 GLIBC_2.2.5
    0x069691b4 0x00 05 GLIBC_2.34
    0x069691b6 0x00 02 GLIBC_2.36
`

test('what a host may not have is named', t => {
  t.deepEqual(unportable(headers), ['liburing.so.2', 'GLIBC_2.36'])
})

test('the addon loads on a host that has what runs Node', async t => {
  await t.notThrowsAsync(checkPortable(addon))
})
