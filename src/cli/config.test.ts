import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { parseChardev, printChardev } from './chardev.ts'
import { configOf, flagsOf } from './config.ts'

test('flags become the configuration that the API has for them', t => {
  const config = configOf({
    ...{ kernel: 'vmlinux', initramfs: 'initrd', cmdline: 'console=ttyS0 quiet' },
    ...{ cpus: 'boot=2', memory: 'size=1G,shared=on' },
    disk: ['path=a', 'path=b,readonly=on,id=data,rate_limit_group=slow'],
    net: ['tap=tap0,mac=52:54:00:00:00:01,bw_size=1M,bw_refill_time=100'],
    rateLimitGroup: ['id=slow,ops_size=10,ops_one_time_burst=20,ops_refill_time=1000'],
    ...{
      serial: 'tty',
      console: 'off',
      debugConsole: 'file=/log',
      rng: 'src=/dev/random',
      platform: 'serial_number=7',
    },
  })
  t.deepEqual(
    config,
    parseVmConfig({
      payload: { kernel: 'vmlinux', initramfs: 'initrd', cmdline: 'console=ttyS0 quiet' },
      cpus: { boot_vcpus: 2 },
      memory: { size: 2 ** 30, shared: true },
      disks: [{ path: 'a' }, { path: 'b', readonly: true, id: 'data', rate_limit_group: 'slow' }],
      net: [
        {
          ...{ tap: 'tap0', mac: '52:54:00:00:00:01' },
          rate_limiter_config: { bandwidth: { size: 2 ** 20, refill_time: 100 } },
        },
      ],
      rate_limit_groups: [
        { id: 'slow', rate_limiter_config: { ops: { size: 10, one_time_burst: 20, refill_time: 1000 } } },
      ],
      ...{ serial: { mode: 'Tty' }, console: { mode: 'Off' }, debug_console: { mode: 'File', file: '/log' } },
      rng: { src: '/dev/random' },
      platform: { serial_number: '7' },
    }),
  )
  t.deepEqual(configOf(flagsOf(config)), config, 'and the other way')
})

test('targets of the serial port and the console', t => {
  t.deepEqual(parseChardev('--serial', 'file=/a=b'), { mode: 'File', file: '/a=b' })
  t.deepEqual(parseChardev('--console', 'tty,iommu=off'), { mode: 'Tty', iommu: false })
  t.deepEqual(parseChardev('--debug-console', 'pty,iobase=0x402'), { mode: 'Pty', iobase: 0x402 })
  for (const target of [
    { mode: 'Pty', iobase: 0x402 },
    { mode: 'Socket', socket: '/a,b' },
  ]) {
    t.deepEqual(parseChardev('--serial', printChardev(target)), target)
  }
  const placed = { mode: 'Tty', pci_device_id: 7 }
  t.deepEqual(parseChardev('--console', printChardev(placed)), placed)
  t.deepEqual(parseChardev('--serial', printChardev({ mode: 'File', file: 'a,"b' })), { mode: 'File', file: 'a,"b' })
  t.throws(() => parseChardev('--serial', 'file'), { message: '--serial: file: has no path' })
  t.throws(() => parseChardev('--serial', 'off=1'), { message: '--serial: off: takes no value' })
  t.throws(() => parseChardev('--serial', 'tty,off'), { message: '--serial: off: there is another target' })
  t.throws(() => parseChardev('--serial', 'iobase=1,iobase=1,tty'), { message: '--serial: iobase: is there twice' })
  t.throws(() => parseChardev('--serial', 'iommu=on'), { message: '--serial: has no target' })
  t.throws(() => parseChardev('--serial', 'toString'), { message: /^--serial: toString is none of/ })
})

test('what has no machinery yet is refused, what asks for nothing is not', t => {
  t.throws(() => configOf({ kernel: 'k', console: 'socket=/s' }), {
    message: '--console: mode: Socket is not supported yet',
  })
  t.throws(() => configOf({ kernel: 'k', disk: ['path=a,iommu=on'] }), {
    message: '--disk: iommu: is not supported yet',
  })
  t.notThrows(() => configOf({ kernel: 'k', disk: ['path=a,iommu=off,backing_files=off,pci_segment=0'] }))
})
