import { concatenate, Layout } from '../util/bytes.ts'
import { type AcpiTable, table } from './table.ts'

export interface ConfigurationSpace {
  readonly segment: number
  readonly ecamAddress: number
}

const reservedBytes = 8
const allocation = new Layout(16, { address: { offset: 0, width: 8 }, segment: { offset: 8, width: 2 } })

/** Memory-mapped configuration spaces (PCI Firmware Specification 3.3 §4.1.2): bus 0 of each segment. */
export function mcfg(spaces: readonly ConfigurationSpace[]): AcpiTable {
  const allocations = spaces.map(({ segment, ecamAddress }) => allocation.encode({ address: ecamAddress, segment }))
  return table('MCFG', 1, 'CHMCFG', concatenate([new Uint8Array(reservedBytes), ...allocations]))
}
