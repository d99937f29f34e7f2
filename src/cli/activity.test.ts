import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { activityBetween, type Sample } from './activity.ts'
import { processUsage } from './process-usage.ts'
import { describeActivities } from './top.ts'

const usage = (cpuSeconds: number, ...vcpuSeconds: readonly number[]) => ({
  cpuSeconds,
  vcpuSeconds,
  residentBytes: 2 ** 20,
})

const before: Sample = {
  ...{ machine: '7', state: 'running', takenMs: 1_000, usage: usage(10, 4, 5) },
  counters: { _disk0: { read_bytes: 1_000, read_ops: 1, read_latency_max: 90 }, _net1: { rx_bytes: 50, tx_frames: 3 } },
}
const after: Sample = {
  ...{ ...before, takenMs: 3_000, usage: usage(13, 6, 5) },
  counters: {
    _disk0: { read_bytes: 5_096, read_ops: 5, read_latency_max: 95 },
    _net1: { rx_bytes: 50, tx_frames: 2 },
    _disk2: { write_bytes: 4_096 },
  },
}

test('rates are by second, of what is counted and not of what is measured', t => {
  t.deepEqual(activityBetween(before, after), {
    ...{ machine: '7', state: 'running', cpu_percent: 150, vcpu_percent: [100, 0], resident_bytes: 2 ** 20 },
    devices: {
      _disk0: { read_bytes: 2_048, read_ops: 2 },
      // Another card by the same name.
      _net1: { rx_bytes: 0, tx_frames: 0 },
      _disk2: { write_bytes: 0 },
    },
  })
})

test('people get a row for machine, vCPU and device', t => {
  t.is(
    describeActivities([activityBetween(before, after)]),
    [
      'MACHINE  WHAT     STATE    CPU    MEMORY  IN/s   OPS/s  OUT/s  OPS/s',
      '7        machine  running  150 %  1 MiB',
      '7        vcpu0             100 %',
      '7        vcpu1             0 %',
      '7        _disk0                           2 KiB  2      0 B    0',
      '7        _net1                            0 B    0      0 B    0',
      '7        _disk2                           0 B    0      0 B    0',
    ].join('\n'),
  )
})

test('threads come and go while they are looked at, and have any name', t => {
  const root = mkdtempSync(join(tmpdir(), 'tsvmm-proc-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  const stat = (name: string, user: number, system: number) => `7 (${name}) S ${'0 '.repeat(10)}${user} ${system} 0 0\n`
  const tasks = { 7: stat('tsvmm) R 1', 900, 90), 8: stat('vcpu0', 100, 20), 9: undefined, 10: stat('vcpu2', 50, 0) }
  for (const [task, text] of Object.entries(tasks)) {
    mkdirSync(join(root, '7', 'task', task), { recursive: true })
    if (text !== undefined) writeFileSync(join(root, '7', 'task', task, 'stat'), text)
  }
  writeFileSync(join(root, '7', 'stat'), stat('a ) (b', 1_000, 110))
  writeFileSync(join(root, '7', 'status'), 'Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t4\n')
  t.deepEqual(processUsage(7, root), { cpuSeconds: 11.1, vcpuSeconds: [1.2, 0, 0.5], residentBytes: 2 ** 21 })
})

test('a process that is there has used something, one that is not has not', t => {
  const used = processUsage(process.pid)
  t.true(used !== undefined && used.cpuSeconds > 0 && used.residentBytes > 2 ** 20)
  t.deepEqual(used?.vcpuSeconds, [])
  t.is(processUsage(0x7fff_ffff), undefined)
})
