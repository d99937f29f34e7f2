import test from 'ava'
import { type FioJob, fioResult } from './fio.ts'

const read: FioJob = { name: 'reads', pattern: 'randread', blockBytes: 4096, depth: 1 }
const write: FioJob = { name: 'writes', pattern: 'randwrite', blockBytes: 4096, depth: 32 }

/** A line as fio 3.33 writes it: identity, 41 fields of reads, as many of writes, and more. */
function terse(name: string, error: number, reads: string, writes: string): string {
  const rest = ';0'.repeat(37)
  return `3;fio-3.33;${name};0;${error};${reads}${rest};${writes}${rest};12.5%;30.1%;900;0;5`
}

test('the rates of a read stand among the first fields, those of a write behind them', t => {
  const output = `kernel: noise\n${terse('reads', 0, '6248;1562;390;4000', '0;0;0;0')}\n${terse('writes', 0, '0;0;0;0', '800;200;50;4000')}\n`
  t.deepEqual(fioResult(output, read), { operationsPerSecond: 390, bytesPerSecond: 1562 * 1024 })
  t.deepEqual(fioResult(output, write), { operationsPerSecond: 50, bytesPerSecond: 200 * 1024 })
})

test('a job that is missing, failed or did nothing is an error', t => {
  t.throws(() => fioResult('fio: engine io_uring not loadable', read), { message: /no result of reads/ })
  t.throws(() => fioResult(terse('reads', 5, '1;1;1;1', '0;0;0;0'), read), { message: /error 5/ })
  t.throws(() => fioResult(terse('reads', 0, '0;0;0;0', '9;9;9;9'), read), { message: /did nothing/ })
})
