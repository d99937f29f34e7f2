import test from 'ava'
import { portable, settled } from './settle.ts'
import { parseVmConfig } from './vm-config.ts'

test('a card without an address gets one of its own, and keeps it', t => {
  const config = parseVmConfig({
    payload: { kernel: 'k' },
    net: [{ tap: 'a' }, { tap: 'b' }, { tap: 'c', mac: '12:34:56:78:90:ab' }],
  })
  const once = settled(config)
  const [first, second, third] = once.net.map(({ mac }) => mac)
  t.regex(first ?? '', /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/, 'locally administered, unicast')
  t.not(first, second)
  t.is(third, '12:34:56:78:90:ab')
  t.deepEqual(parseVmConfig(once), once)
  t.deepEqual(settled(once), once)
})

test('paths are those from anywhere, and what is absent stays absent', t => {
  const config = portable(
    parseVmConfig({
      payload: { kernel: 'k', initramfs: '/i' },
      cpus: { template: 'cpu.json' },
      disks: [{ path: 'a/b' }],
      serial: { mode: 'File', file: 'log' },
    }),
  )
  const here = process.cwd()
  t.deepEqual(config.payload, { kernel: `${here}/k`, initramfs: '/i', cmdline: '' })
  t.is(config.cpus.template, `${here}/cpu.json`)
  t.is(config.disks[0]?.path, `${here}/a/b`)
  t.is(config.serial.file, `${here}/log`)
  t.false('file' in config.console)
  t.deepEqual(parseVmConfig(config), config)
})
