import test from 'ava'
import { restoreOf } from './restore.ts'

const code = 'ERR_OPTION_INVALID'

test('a directory alone, a URL or keys say what is restored', t => {
  t.like(restoreOf({ restore: '/s' }, true), { path: '/s', options: { resume: true, clock: 'continue' } })
  t.like(restoreOf({ restore: 'file:///a%20b,resume=off' }, true), { path: '/a b', options: { resume: false } })
  const onDemand = '/s,memory_restore_mode=ondemand,prefetch=off,background_fill=on,handler_socket=/h'
  t.like(restoreOf({ restore: onDemand }, true), {
    options: { mode: 'ondemand', prefetch: false, backgroundFill: true, handlerSocket: '/h' },
  })
  const keys = 'source_url=/s,memory_restore_mode=copy,prefault=on,clock=jump'
  t.like(restoreOf({ restore: keys }, false), {
    ...{
      path: '/s',
      options: { mode: 'copy', resume: false, clock: 'jump', overrides: { memory: { prefault: true } } },
    },
  })
})

test('flags beside it name things of the host', t => {
  const { options } = restoreOf(
    {
      ...{ restore: '/s', disk: ['id=_disk0,path=a', 'id=data,path=b,direct=on'], net: ['id=_net1,tap=tap7'] },
      ...{ serial: 'file=/log', console: 'pty', debugConsole: 'off', memory: 'hugepages=on' },
    },
    true,
  )
  t.like(options.overrides, {
    disks: { _disk0: { path: 'a' }, data: { path: 'b', direct: true } },
    net: { _net1: { tap: 'tap7' } },
    serial: { mode: 'File', file: '/log' },
    console: { mode: 'Pty' },
    debug_console: { mode: 'Off' },
    memory: { hugepages: true },
  })
})

test('what the guest sees is what the snapshot says', t => {
  const refused = (flags: object, message: string) => {
    t.throws(() => restoreOf({ restore: '/s', ...flags }, true), { code, message })
  }
  refused({ kernel: 'vmlinux' }, '--kernel: is what the snapshot says')
  refused({ cpus: 'boot=2' }, '--cpus: is what the snapshot says')
  refused({ memory: 'size=1G' }, '--memory: size: is what the snapshot says')
  refused({ disk: ['path=a'] }, '--disk: id: is missing: it says which one of the snapshot is meant')
  refused({ disk: ['id=a,path=a,num_queues=2'] }, '--disk: num_queues: is what the snapshot says')
  refused({ console: 'pty,pci_device_id=3' }, '--console: pci_device_id: is what the snapshot says')
  refused({ restore: '/s,mode=cow' }, '--restore: unknown key mode')
  t.throws(() => restoreOf({ restore: 'ftp://host/s' }, true), { code: 'ERR_API_REQUEST' })
})
