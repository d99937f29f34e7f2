import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { disksToCopy } from './disk-plan.ts'

const config = parseVmConfig({
  payload: { kernel: '/vmlinux' },
  disks: [{ path: '/a.img' }, { path: '/b.img', readonly: true }, { path: '/c.img' }],
})
const saved = { path: '/s', disks: new Map([['_disk0', '/s/disk0.img']]) }

test('copies are of the disks that are written to, as the snapshot has them where it does', t => {
  t.deepEqual(disksToCopy(config, {}, 'copy', saved), [
    { id: '_disk0', path: '/a.img', from: '/s/disk0.img', backing_files: false },
    { id: '_disk2', path: '/c.img', from: '/c.img', backing_files: false },
  ])
  const overrides = { disks: { _disk0: { path: '/other.img' } } }
  t.deepEqual(disksToCopy(config, overrides, 'copy', saved), [
    { id: '_disk2', path: '/c.img', from: '/c.img', backing_files: false },
  ])
})

test('a snapshot with disks is not restored beside others of the same name without being told so', t => {
  const message =
    'snapshot /s: it has its disks as they were (_disk0): say disks=copy, disks=leave or another path for each'
  t.throws(() => disksToCopy(config, {}, undefined, saved), { code: 'ERR_SNAPSHOT', message })
  t.deepEqual(disksToCopy(config, {}, 'leave', saved), [])
  t.deepEqual(disksToCopy(config, { disks: { _disk0: { path: '/other.img' } } }, undefined, saved), [])
  t.deepEqual(disksToCopy(config, {}, undefined), [])
})
