import test from 'ava'
import { phasesOf } from './phases.ts'

const startedAt = Date.parse('2026-01-01T00:00:00.000Z')
const log = `tsvmm: 0.060000s: INFO: started at 2026-01-01T00:00:00.005Z, runtime 20.0 ms, modules 50.0 ms
tsvmm: 0.090000s: INFO: the machine is built
tsvmm: 0.100000s: INFO: the kernel is loaded
tsvmm: 0.101000s: INFO: the machine runs
`

test('phases follow each other without a gap from process start to the ready line', t => {
  const trace = { startedAt, readyAt: startedAt + 306, log, guestInit: 0.15, guestReady: 0.2 }
  const phases = phasesOf(trace).map(({ name, ms }) => [name, Math.round(ms)])
  t.deepEqual(phases, [
    ['process', 5],
    ['runtime', 20],
    ['modules', 30],
    ['config', 10],
    ['create', 30],
    ['load', 10],
    ['start', 1],
    ['guest_kernel', 150],
    ['guest_init', 50],
  ])
})

test('a log without one of its lines is an error that names it', t => {
  const trace = { startedAt, readyAt: startedAt + 306, guestInit: 0.1, guestReady: 0.2 }
  t.throws(() => phasesOf({ ...trace, log: '' }), { message: /no start/ })
  t.throws(() => phasesOf({ ...trace, log: log.replace('loaded', 'lost') }), { message: /"the kernel is loaded"/ })
})
