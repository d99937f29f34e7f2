import test from 'ava'
import { clonesOf } from './clones.ts'
import type { RunFlags } from './run.ts'

const code = 'ERR_OPTION_INVALID'

test('a number alone, or keys, say how many and what of their disks', t => {
  const restored = { restore: '/s', resumes: true }
  t.like(clonesOf({ ...restored, clone: '3' }), { path: '/s', count: 3, options: { resume: true } })
  const keys = 'count=7,disks=copy,disk_directory=/of/clones'
  const { options, count } = clonesOf({ ...restored, clone: keys, serial: 'file=/log-{n}', net: ['id=_net0,tap=t{n}'] })
  t.is(count, 7)
  t.like(options, { disks: 'copy', diskDirectory: '/of/clones' })
  t.like(options.overrides, { serial: { mode: 'File', file: '/log-{n}' }, net: { _net0: { tap: 't{n}' } } })
})

test('what would be without effect, or of all clones at once, is refused', t => {
  const refused = (flags: Partial<RunFlags>, message: string) => {
    t.throws(() => clonesOf({ restore: '/s', resumes: true, clone: '2', ...flags }), { code, message })
  }
  refused({ apiSocket: '/run/s' }, '--api-socket: needs {n}, the number of the clone, in its path')
  refused({ eventMonitor: 'path=/e' }, '--event-monitor: needs {n}, the number of the clone, in its path')
  refused({ shutdown: false }, '--no-shutdown: does not go with --clone')
  refused({ clone: 'disks=copy' }, '--clone: count: is missing')
  refused({ clone: '2,disk_directory=/x' }, '--clone: disk_directory: needs disks=copy')
  refused({ clone: '2,disks=share' }, '--clone: disks: share is none of copy')
  refused({ restore: '/s,resume=off' }, '--restore: resume: off needs --api-socket')
  t.notThrows(() =>
    clonesOf({ restore: '/s,resume=off', clone: '2', apiSocket: '/run/{n}', eventMonitor: 'path=/e{n}' }),
  )
})
