import * as z from 'zod/mini'
import { parseWordName } from './cpuid/feature-names.ts'

const count = z.number().check(z.int(), z.gte(0), z.lte(0xffff_ffff))
const word = z.string().check(z.regex(/^0x[0-9a-f]{1,8}$/))
const doubleWord = z.string().check(z.regex(/^0x[0-9a-f]{1,16}$/))
/** It comes to a terminal, and into messages of one line. */
const printable = (mostLetters: number) => z.string().check(z.maxLength(mostLetters), z.regex(/^[ -~]*$/))
const wordNames = z.string().check(z.refine(name => parseWordName(name) !== undefined))
const msrIndices = z.string().check(z.regex(/^0x[0-9a-f]{1,8}$/))

/** The CPU that a guest was given, as far as another host may be without it. */
export const x86CpuSchema = z.object({
  architecture: z.literal('x86_64'),
  vendor: printable(12),
  family: count,
  model: count,
  stepping: count,
  /** For people; absent where the CPU has none. */
  brand: z.optional(printable(48)),
  physicalAddressBits: z.number().check(z.int(), z.gte(32), z.lte(52)),
  /** Of the time stamp counter; absent where the hypervisor cannot tell. */
  tscKilohertz: z.optional(count),
  /** Where the guest's XSAVE area has the state of each extension: what a guest has in its memory is of that shape. */
  xsave: z.object({
    sizeBytes: count,
    components: z.array(z.object({ component: count, offsetBytes: count, sizeBytes: count })).check(z.maxLength(64)),
  }),
  /** Registers of CPUID that have a bit for each feature, by leaf, subleaf and name; those of zero are left out. */
  cpuid: z.record(wordNames, word),
  /** What is counted: there may be more of it, not less. */
  counts: z.record(printable(64), count),
  /** MSRs that say what there is, by index. */
  msrs: z.record(msrIndices, doubleWord),
})

export type X86Cpu = z.output<typeof x86CpuSchema>
