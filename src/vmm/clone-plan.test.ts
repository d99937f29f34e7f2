import test from 'ava'
import fc from 'fast-check'
import { parseVmConfig, type VmConfigInput } from '../config/vm-config.ts'
import { numbered, planClones } from './clone-plan.ts'

const code = 'ERR_CLONES'

function aConfig(given: Partial<VmConfigInput> = {}) {
  return parseVmConfig({ payload: { kernel: '/vmlinux' }, console: { mode: 'Null' }, ...given })
}

test('what machines can share they share', t => {
  const saved = aConfig({ disks: [{ path: '/a.img', readonly: true }], net: [{}] })
  const clones = planClones(saved, 3, {}, { beside: saved })
  t.deepEqual(
    clones.map(({ number, copies }) => [number, copies]),
    [0, 1, 2].map(number => [number, []]),
  )
})

test('what they cannot share is listed, all of it', t => {
  const saved = aConfig({
    disks: [{ path: '/a.img' }, { path: '/b.img', readonly: true }],
    net: [{ tap: 'tap0' }, { fds: [7] }],
    serial: { mode: 'Socket', socket: '/serial' },
    console: { mode: 'Tty' },
    debug_console: { mode: 'File', file: '/log' },
  })
  const list =
    '--disk _disk0 (/a.img), --net _net2 (tap0), --net _net3 (descriptor 7), --serial (/serial), --console (the terminal), ' +
    '--debug-console (/log)'
  const message = `clones: machines cannot share ${list}: give each clone its own ({n} is its number), or copies of disks`
  t.throws(() => planClones(saved, 2, {}), { code, message })
  t.throws(() => planClones(saved, 1, {}, { beside: saved }), { code, message })
  t.notThrows(() => planClones(saved, 1, {}))
})

test('each finds its own by its number, or by what a function says', t => {
  const saved = aConfig({ disks: [{ path: '/a.img' }], net: [{ tap: 'tap0' }], serial: { mode: 'File', file: '/log' } })
  const overrides = {
    disks: { _disk0: { path: '/{n}/a-{n}.img' } },
    net: { _net1: { tap: 'tap{n}x' } },
    serial: { mode: 'File', file: '/log-{n}' },
  }
  const [one, other] = planClones(saved, 2, { overrides }, { beside: saved })
  t.is(one?.overrides.disks?.['_disk0']?.path, '/0/a-0.img')
  t.is(other?.overrides.net?.['_net1']?.tap, 'tap1x')
  t.is(other?.overrides.serial?.file, '/log-1')
  const made = planClones(saved, 2, { overrides: number => numbered(overrides, number + 5) })
  t.is(made[1]?.overrides.net?.['_net1']?.tap, 'tap6x')
  t.is(made[1]?.number, 1)
})

test('each card has an address of its own, unless one is given', t => {
  const saved = aConfig({ net: [{ mac: '02:00:00:00:00:01' }, {}] })
  const clones = planClones(saved, 20, { overrides: { net: { _net1: { mac: '02:00:00:00:00:07' } } } })
  const macs = clones.map(({ overrides }) => overrides.net?.['_net0']?.mac ?? '')
  t.is(new Set([...macs, '02:00:00:00:00:01']).size, 21)
  for (const mac of macs) t.regex(mac, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/)
  t.is(clones[3]?.overrides.net?.['_net1']?.mac, '02:00:00:00:00:07')
})

test('disks that are written to are copied where that is asked for, but for those that are elsewhere', t => {
  const saved = aConfig({ disks: [{ path: '/a.img' }, { path: '/b.img', readonly: true }, { path: '/c.img' }] })
  const overrides = { disks: { _disk2: { path: '/c-{n}.img' } } }
  const clones = planClones(saved, 2, { disks: 'copy', overrides }, { beside: saved })
  const copy = { id: '_disk0', path: '/a.img', from: '/a.img', backing_files: false }
  for (const { copies } of clones) t.deepEqual(copies, [copy])
})

test('no clones, and as many as nobody means, are refused', t => {
  for (const count of [0, -1, 1.5, Number.NaN, 1001]) t.throws(() => planClones(aConfig(), count, {}), { code })
  t.throws(() => planClones(aConfig(), 1, { overrides: { disks: { a: {} } } }), { code: 'ERR_DEVICE_UNKNOWN' })
})

test('numbers change nothing but where they are asked for', t => {
  const text = fc.string({ minLength: 1 })
  fc.assert(
    fc.property(text, fc.nat(999), (path, number) => {
      const { disks } = numbered({ disks: { a: { path, direct: true } } }, number)
      t.deepEqual(disks, { a: { path: path.replaceAll('{n}', `${number}`), direct: true } })
    }),
  )
})
