import test from 'ava'
import { claimedFormat } from './image-format.ts'

const bytes = (text: string) => Buffer.from(text.padEnd(32, '\0'), 'latin1')
const none = new Uint8Array(512)

test('images claim a format with their first bytes, a fixed VHD with its footer', t => {
  t.is(claimedFormat(bytes('QFI\u00fb'), none)?.name, 'qcow2')
  t.is(claimedFormat(bytes('vhdxfile'), none)?.name, 'VHDX')
  t.is(claimedFormat(bytes('conectix'), none)?.name, 'VHD')
  t.is(claimedFormat(bytes('KDMV'), none)?.name, 'VMDK')
  t.is(claimedFormat(bytes('# Disk DescriptorFile'), none)?.name, 'VMDK')
  t.is(claimedFormat(none, bytes('conectix'))?.name, 'VHD')
})

test('what claims nothing may be raw', t => {
  t.is(claimedFormat(none, none), undefined)
  t.is(claimedFormat(new Uint8Array(0), new Uint8Array(0)), undefined)
  t.is(claimedFormat(bytes('QFI'), bytes('QFI\u00fb')), undefined)
})
