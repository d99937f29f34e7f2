import type * as z from 'zod/mini'
import { flag, list, object, u32 } from '../state/shapes.ts'

/** PCI Local Bus 3.0 §6.8.2: eleven bits of a table size. */
const mostVectors = 2048

/** The table of messages; signals that came while their vector was masked. */
export const msixVectors = list(
  object({ addressLow: u32, addressHigh: u32, data: u32, control: u32, isPending: flag }),
  mostVectors,
)

export type SavedVectors = z.output<typeof msixVectors>
