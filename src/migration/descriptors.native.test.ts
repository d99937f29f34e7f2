import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { handedFile, type OpenDisk, openDisk } from '../backends/disk.native.ts'
import { openImage } from '../backends/disk-image.native.ts'
import { addon } from '../native/addon.ts'
import { dial, listen } from './connections.native.ts'
import { receiveHandedOver, sendDescriptors } from './descriptors.native.ts'

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tsvmm-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

const preamble = { role: 'descriptors', number: 0, id: '00'.repeat(16) } as const

/** Both ends of a connection for descriptors. */
async function connection(t: ExecutionContext): Promise<{ near: number; far: Promise<number> }> {
  const address = { kind: 'unix', path: join(folder(t), 'socket') } as const
  const far = Promise.withResolvers<number>()
  const listener = await listen(address, { onConnection: fd => far.resolve(fd) })
  t.teardown(() => listener.close())
  return { near: await dial(address, preamble, new AbortController().signal), far: far.promise }
}

const never = new Promise<Error>(() => {})

/** As another process of this host would have it. */
async function handed(t: ExecutionContext, fd: number): Promise<number> {
  const { near, far } = await connection(t)
  await sendDescriptors(near, [fd])
  const [own] = (await receiveHandedOver(far, [{ component: 'a', count: 1 }], never)).take('a') ?? []
  if (own === undefined) throw new Error('nothing came')
  return own
}

test('each component gets its own descriptors, also where they do not fit into one message', async t => {
  const { near, far } = await connection(t)
  const [none, zero] = [openSync('/dev/null', 'r'), openSync('/dev/zero', 'r')]
  const counts = [
    { component: 'a', count: 300 },
    { component: 'b', count: 1 },
  ]
  const received = receiveHandedOver(far, counts, never)
  await sendDescriptors(near, [...new Array(300).fill(none), zero])
  const handedOver = await received
  t.deepEqual(handedOver.left, ['a', 'b'])
  t.throws(() => handedOver.take('b', 2), { message: 'b is handed over with 1 descriptors, and has 2' })
  const [first] = handedOver.take('b', 1) ?? []
  t.is(fstatSync(first ?? -1).rdev, fstatSync(zero).rdev)
  t.is(handedOver.take('b'), undefined)
  const others = handedOver.take('a') ?? []
  t.is(others.length, 300)
  t.true(others.every(fd => fstatSync(fd).rdev === fstatSync(none).rdev))
  for (const fd of [...others, first ?? -1]) addon().closeDescriptor(fd)
  handedOver.close()
  closeSync(none)
  closeSync(zero)
})

test('more or fewer descriptors than were announced are none', async t => {
  const fd = openSync('/dev/null', 'r')
  for (const [sent, message] of [
    [3, /more descriptors come/],
    [1, /fewer descriptors come/],
  ] as const) {
    const { near, far } = await connection(t)
    const received = receiveHandedOver(far, [{ component: 'a', count: 2 }], never)
    received.catch(() => {})
    await sendDescriptors(near, new Array(sent).fill(fd))
    await t.throwsAsync(received, { message })
  }
  closeSync(fd)
})

test('who announces descriptors and goes is waited for no longer', async t => {
  const { near, far } = await connection(t)
  const lost = Promise.withResolvers<Error>()
  const received = receiveHandedOver(far, [{ component: 'a', count: 1 }], lost.promise)
  received.catch(() => {})
  lost.resolve(new Error('gone'))
  await t.throwsAsync(received, { message: 'gone' })
  addon().closeDescriptor(near)
})

for (const format of ['raw', 'qcow2'] as const) {
  test(`a ${format} disk that is handed over is locked all the time, by whoever has it`, async t => {
    const path = join(folder(t), 'disk')
    if (format === 'raw') {
      writeFileSync(path, '')
      truncateSync(path, 2 ** 20)
    } else execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M'])
    const options = { path, isReadOnly: false, isDirect: false, isSparse: true }
    const open = (more = {}): OpenDisk =>
      format === 'raw'
        ? openDisk({ ...options, ...more })
        : openImage({ ...options, ...more, format, mayHaveBackingFile: false })
    const isLocked = (what: string) => t.throws(() => open().close(), { code: 'ERR_DISK_LOCKED' }, what)
    const one = open()
    const heir = open({ file: handedFile(await handed(t, one.fd)), isLockedLater: true })
    isLocked('both have it')
    await one.unlock(true)
    isLocked('it is given away')
    one.lock()
    isLocked('it is not taken')
    await one.unlock(true)
    heir.lock()
    one.close()
    one.close()
    isLocked('the heir has it')
    t.is(heir.sizeBytes, 2 ** 20)
    heir.close()
    const failed = open()
    const fails = open({ file: handedFile(await handed(t, failed.fd)), isLockedLater: true })
    fails.close()
    isLocked('the heir has failed')
    failed.close()
    open().close()
    const none = openSync('/dev/null', 'r')
    const another = handedFile(await handed(t, none))
    t.throws(() => open({ file: another, isLockedLater: true }).lock(), {
      message: /is another file than the one that is handed over/,
    })
    closeSync(none)
  })
}
