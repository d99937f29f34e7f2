import test from 'ava'
import { resetVectorAddress } from '../boot/x86_64/reset-vector.ts'
import { parseVmConfig } from '../config/vm-config.ts'
import { deviceArea } from '../platform/x86_64/address-map.ts'
import { firmwareTables } from './x86_64-tables.ts'

/** The end of all tables, where so many bytes of strings are among them. */
function endWith(stringBytes: number): number {
  const config = parseVmConfig({
    payload: { kernel: 'vmlinux' },
    platform: { oem_strings: ['a'.repeat(stringBytes)] },
  })
  const topology = { threadsPerCore: 1, coresPerDie: 1, diesPerPackage: 1, packages: 1 }
  const tables = firmwareTables({ config, topology, area: deviceArea(2 ** 29, 40) })
  return Math.max(...tables.map(({ address, bytes }) => address + bytes.length))
}

test('tables end where the code that resets the machine begins', t => {
  const room = resetVectorAddress - endWith(1) + 1
  t.is(endWith(room), resetVectorAddress)
  t.throws(() => endWith(room + 1), { code: 'ERR_RESOURCE_EXHAUSTED' })
})
