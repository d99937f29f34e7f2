import test from 'ava'
import { execa } from 'execa'

/** What a program does that leaves a machine behind, in a process of its own. */
async function run(body: string, flags: readonly string[] = []) {
  const program = `
    import { op, TinyGuest } from '${new URL('testing/tiny-guest.native.ts', import.meta.url).href}'
    import { setTimeout as sleep } from 'node:timers/promises'
    const guest = new TinyGuest()
    guest.map('pio', 0x10, { spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }] })
    guest.map('pio', 0x20, {})
    const out = guest.recordPort(0x40)
    ${body}`
  const node = [...flags, '--input-type=module', '--eval', program]
  return execa(process.execPath, node, { reject: false, timeout: 100_000 })
}

const busy = `
  guest.addVcpu(op.out8(0x40, 1), op.forever([0x90]))
  guest.addVcpu(op.forever(op.out8(0x10, 1)))
  guest.addVcpu(op.forever(op.out8(0x20, 1)))
  guest.run()
  await out.until(1)`

test('a process exits while vCPUs of it run', async t => {
  const { exitCode, stderr } = await run(`${busy}; await sleep(5); guest.park(); process.exit(7)`)
  t.is(exitCode, 7, stderr)
})

test('a handler may end the process', async t => {
  const { exitCode, stderr } = await run(
    `guest.map('pio', 0x30, { write: () => process.exit(5) }); ${busy.replace('[0x90]', 'op.out8(0x30, 1)')}; await sleep(10_000)`,
  )
  t.is(exitCode, 5, stderr)
})

test('a running guest keeps the process alive and a parked one does not', async t => {
  const { exitCode, stdout, stderr } = await run(`
    guest.addVcpu(op.repeat(5000, op.out8(0x20, 1)), op.out8(0x40, 1), op.forever([0x90]))
    guest.run()
    out.until(1).then(() => guest.park()).then(() => console.log('parked'))`)
  t.is(exitCode, 0, stderr)
  t.is(stdout, 'parked')
})

test('a park of a vCPU that never ran resolves', async t => {
  const { exitCode, stdout, stderr } = await run(`
    await guest.addVcpu(op.halt).park()
    console.log('parked')`)
  t.is(exitCode, 0, stderr)
  t.is(stdout, 'parked')
})

test('an error of the error handler is an uncaught exception', async t => {
  const { exitCode, stderr } = await run(`
    guest.map('pio', 0x30, { write: () => { throw new Error('first') } })
    guest.errors.push = () => { throw new Error('second') }
    guest.addVcpu(op.forever(op.out8(0x30, 1)))
    guest.run()`)
  t.not(exitCode, 0)
  t.regex(stderr, /Error: second/)
})

test('what nobody closed is collected', async t => {
  const { exitCode, stdout, stderr } = await run(
    `
    const { addon } = await import('${new URL('addon.ts', import.meta.url).href}')
    const { readdirSync } = await import('node:fs')
    const open = () => readdirSync('/proc/self/fd').length
    const kvm = new (addon().Kvm)('/dev/kvm')
    const before = open()
    const leave = () => {
      const vm = kvm.createVm()
      const vcpu = vm.createVcpu(0)
      const mapping = new (addon().Mapping)({ sizeBytes: 4096, backing: 'memfd' })
      vm.setMemorySlot({ slot: 0, guestAddress: 0, mapping, mappingOffset: 0, sizeBytes: 4096 })
      vm.mapWindow('pio', 0, new Uint8Array(8), [], 1)
      new (addon().EventFd)()
      return vcpu.isParked
    }
    for (let count = 0; count < 10; count += 1) leave()
    const most = open()
    for (let turn = 0; turn < 20 && open() > before; turn += 1) {
      gc()
      await sleep(5)
    }
    console.log(most > before + 20, open() === before)`,
    ['--expose-gc'],
  )
  t.is(exitCode, 0, stderr)
  t.is(stdout, 'true true')
})

test('a worker is terminated while vCPUs of it run', async t => {
  const worker = `
    import { op, TinyGuest } from '${new URL('testing/tiny-guest.native.ts', import.meta.url).href}'
    import { parentPort, workerData } from 'node:worker_threads'
    const guest = new TinyGuest()
    guest.map('pio', 0x10, { spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }] })
    guest.map('pio', 0x20, {})
    guest.addVcpu(op.forever(op.out8(0x10, 1)))
    guest.addVcpu(op.forever(op.out8(0x20, 1)))
    guest.addVcpu(op.forever([0x90]))
    guest.run()
    parentPort.postMessage('running')
    if (workerData % 2 === 1) guest.park()`
  const { exitCode, stdout, stderr } = await run(`
    const { Worker } = await import('node:worker_threads')
    const { readdirSync } = await import('node:fs')
    for (let round = 0; round < 5; round += 1) {
      const source = new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)}))
      const worker = new Worker(source, { workerData: round })
      await new Promise(resolve => worker.once('message', resolve))
      await sleep(round)
      await worker.terminate()
    }
    console.log('done')
    guest.close()`)
  t.is(exitCode, 0, stderr)
  t.is(stdout, 'done')
})

test('a worker ends while promises of it are about to be kept', async t => {
  const worker = `
    const { addon } = await import('${new URL('addon.ts', import.meta.url).href}')
    const { GuestMemory, Mapping, PageServer } = addon()
    for (let number = 0; number < 20; number += 1) {
      const memory = new GuestMemory()
      memory.add(0, new Mapping({ sizeBytes: 8192, backing: 'anonymous' }), 0, 8192)
      const server = new PageServer({ memory, source: { fd: 0 }, onFailure() {} })
      server.start()
      server.fill(1).then(() => {})
    }
    setTimeout(() => process.exit(7))`
  const { exitCode, stdout, stderr } = await run(`
    const { Worker } = await import('node:worker_threads')
    const { once } = await import('node:events')
    for (let round = 0; round < 5; round += 1) {
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true })
      const [code] = await once(worker, 'exit')
      console.log(code)
    }
    guest.close()`)
  t.is(exitCode, 0, stderr)
  t.is(stdout, '7\n7\n7\n7\n7')
})

test('a worker is terminated while calls of it fail', async t => {
  const worker = `
    import { addon } from '${new URL('addon.ts', import.meta.url).href}'
    import { parentPort } from 'node:worker_threads'
    const { probeDisk } = addon()
    parentPort.postMessage('running')
    for (;;) {
      try {
        probeDisk(-1)
      } catch {}
    }`
  const { exitCode, stdout, stderr } = await run(`
    const { Worker } = await import('node:worker_threads')
    for (let round = 0; round < 5; round += 1) {
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)})))
      await new Promise(resolve => worker.once('message', resolve))
      await sleep(5)
      await worker.terminate()
    }
    console.log('done')
    guest.close()`)
  t.is(exitCode, 0, stderr)
  t.is(stdout, 'done')
})
