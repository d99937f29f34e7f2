import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { ballastAddress, ballastOf, counterAddress } from './testing/counting-guest.ts'
import { ballastBytes, bootCountingVm } from './testing/counting-vm.native.ts'
import { IndependentReceiver } from './testing/independent-receiver.ts'

test('who knows no more than the document can take a machine', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-document-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const vm = await bootCountingVm(place)
  const codes: number[] = []
  vm.on('debug-code', code => codes.push(code))
  await vm.snapshot(join(place, 'snapshot'))
  const sample = readFileSync(join(place, 'snapshot', 'state.bin'))
  await using receiver = await IndependentReceiver.listen(join(place, 'socket'), sample)
  const report = await vm.sendMigration(`unix:${join(place, 'socket')}`, { connections: 3 })
  t.is(vm.state, 'shutdown')
  const { memory, records, frames, deltas } = await receiver.received
  t.true(frames > 3 && deltas > 0, `${frames} frames, ${deltas} of them changes`)
  t.true(report.passes > 1)
  const ballast = memory.subarray(ballastAddress, ballastAddress + ballastBytes)
  t.is(Buffer.compare(ballast, ballastOf(ballastBytes)), 0)
  // The guest writes the second byte to the port at every step.
  t.is(memory.readUInt8(counterAddress + 1) & 0xf0, codes.at(-1) ?? -1)
  t.true(Array.isArray(records) && records.length > 10)
})
