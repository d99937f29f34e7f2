import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { EventMonitor } from './event-monitor.ts'

function inFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-events-'))
  try {
    run(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function events(text: string): unknown[] {
  return text
    .split('\n\n')
    .filter(each => each !== '')
    .map(each => JSON.parse(each))
}

const nonBlockingReader = constants.O_RDONLY | constants.O_NONBLOCK

function readAll(fd: number): string {
  const chunk = Buffer.alloc(4096)
  let text = ''
  for (;;) {
    try {
      const length = readSync(fd, chunk)
      if (length === 0) return text
      text += chunk.toString('utf8', 0, length)
    } catch {
      return text
    }
  }
}

test('an event is a JSON object and an empty line', t => {
  inFolder(folder => {
    const path = join(folder, 'events')
    writeFileSync(path, '')
    const times = [1_234.5, 2_000.000001]
    using monitor = EventMonitor.open({ path }, () => times.shift() ?? 0)
    monitor.tell('vmm', 'starting')
    monitor.tell('virtio-device', 'activated', { id: '_disk0' })
    monitor.close()
    monitor.tell('vmm', 'late')
    const text = readFileSync(path, 'utf8')
    t.true(text.startsWith('{\n  "timestamp": {\n    "secs": 1,\n    "nanos": 234500000\n  },\n  "source": "vmm",\n'))
    t.true(text.endsWith('}\n\n'))
    t.deepEqual(events(text), [
      { timestamp: { secs: 1, nanos: 234_500_000 }, source: 'vmm', event: 'starting', properties: null },
      { timestamp: { secs: 2, nanos: 1 }, source: 'virtio-device', event: 'activated', properties: { id: '_disk0' } },
    ])
  })
})

test('a FIFO may get its reader later, and lose it', t => {
  inFolder(folder => {
    const path = join(folder, 'fifo')
    execFileSync('mkfifo', [path])
    using monitor = EventMonitor.open({ path }, () => 0)
    monitor.tell('vmm', 'starting')
    const reader = openSync(path, nonBlockingReader)
    t.is(events(readAll(reader)).length, 1)
    closeSync(reader)
    monitor.tell('vm', 'booted')
    const again = openSync(path, nonBlockingReader)
    t.is(events(readAll(again)).length, 1)
    monitor.close()
    t.is(readSync(again, Buffer.alloc(1)), 0, 'the end of the program is the end of the file')
    closeSync(again)
  })
})

test('a reader that has stopped reading holds nobody up and gets whole events', t => {
  inFolder(folder => {
    const path = join(folder, 'fifo')
    execFileSync('mkfifo', [path])
    using monitor = EventMonitor.open({ path }, () => 0)
    for (let index = 0; index < 20_000; index += 1) monitor.tell('vm', 'paused', { index: String(index) })
    const reader = openSync(path, nonBlockingReader)
    const first = readAll(reader)
    monitor.close()
    const all = events(first + readAll(reader))
    t.true(all.length > 100 && all.length < 20_000, String(all.length))
    closeSync(reader)
  })
})

test('a descriptor of a pipe or file takes events', t => {
  inFolder(folder => {
    const path = join(folder, 'file')
    const fd = openSync(path, 'w')
    using monitor = EventMonitor.open({ fd }, () => 0)
    monitor.tell('vmm', 'starting')
    t.is(events(readFileSync(path, 'utf8')).length, 1)
    closeSync(fd)
  })
})

test('what cannot be opened is a named error', t => {
  t.throws(() => EventMonitor.open({ path: '/nowhere/events' }, () => 0), {
    code: 'ERR_EVENT_MONITOR',
    message: '--event-monitor /nowhere/events: no such file or directory',
  })
  t.throws(() => EventMonitor.open({ path: '/' }, () => 0), { code: 'ERR_EVENT_MONITOR' })
  t.throws(() => EventMonitor.open({ fd: 999 }, () => 0), { message: /^--event-monitor fd=999: / })
})
