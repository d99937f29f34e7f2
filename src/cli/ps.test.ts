import test from 'ava'
import { describeMachines } from './ps.ts'

const started = '2026-11-30T12:00:00.000Z'
const after = (seconds: number) => Date.parse(started) + seconds * 1000

test('machines are in a table, with dashes for what they have not', t => {
  const machines = [
    { pid: 7, started, state: 'receiving', consoles: {} } as const,
    {
      ...({ pid: 8, clone: 1, started, state: 'running', vcpus: 2, memory_bytes: 2 ** 29, boots: '/k' } as const),
      ...{ socket: '/s', consoles: { serial: '/dev/pts/1', console: '/dev/pts/2' } },
    },
  ]
  t.deepEqual(describeMachines(machines, after(3_725)).split('\n'), [
    'MACHINE  STATE      VCPUS  MEMORY   UPTIME  BOOTS  API SOCKET  CONSOLE',
    '7        receiving  -      -        1h 2m   -      -           -',
    '8-1      running    2      512 MiB  1h 2m   /k     /s          /dev/pts/1 /dev/pts/2',
  ])
})

test('an uptime has its two largest units', t => {
  const uptimes = [0, 59, 60, 3_599, 86_400, 90_000].map(seconds => {
    const [, row = ''] = describeMachines([{ pid: 7, started, state: 'absent', consoles: {} }], after(seconds)).split(
      '\n',
    )
    return row.split(/ {2,}/)[4]
  })
  t.deepEqual(uptimes, ['0s', '59s', '1m 0s', '59m 59s', '1d 0h', '1d 1h'])
})
