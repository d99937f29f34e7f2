import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import * as z from 'zod/mini'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { describeIssue } from '../util/issues.ts'

/**
 * A CPU template: what of the host's CPU a guest is not shown, in Firecracker's schema for custom CPU templates
 * (docs/cpu_templates/schema.json there). Numbers are strings of hexadecimal or binary digits, so that 64 bits are exact.
 */

/** A generous template has a few kilobytes. */
const largestBytes = 1024 * 1024
const mostModifiers = 4096

const matching = (pattern: RegExp, example: string) =>
  z.string().check(z.refine(text => pattern.test(text), `is not like ${example}`))
const number32 = matching(/^(0x[0-9a-f]{1,8}|0b[01]{1,32})$/i, '"0x7" or "0b111"')
const number64 = matching(/^(0x[0-9a-f]{1,16}|0b[01]{1,64})$/i, '"0x7" or "0b111"')
const bitmap = (bits: number) =>
  z
    .string()
    .check(
      z.refine(
        text => /^(0b)?_*[01x][01x_]*$/.test(text) && digitsOf(text).length <= bits,
        `is not like "0bxx01", of at most ${bits} bits`,
      ),
    )
const list = <S extends z.core.$ZodType>(item: S) => z._default(z.array(item).check(z.maxLength(mostModifiers)), [])

const templateSchema = z.strictObject({
  kvm_capabilities: list(matching(/^!?\d{1,9}$/, '"171" or "!171"')),
  cpuid_modifiers: list(
    z.strictObject({
      leaf: number32,
      subleaf: number32,
      /** KVM's: whether the leaf has subleaves, which is known here. */
      flags: z.number().check(z.int(), z.gte(0), z.lte(0xffff_ffff)),
      modifiers: z
        .array(z.strictObject({ register: z.enum(['eax', 'ebx', 'ecx', 'edx']), bitmap: bitmap(32) }))
        .check(z.maxLength(mostModifiers)),
    }),
  ),
  msr_modifiers: list(z.strictObject({ addr: number32, bitmap: bitmap(64) })),
  reg_modifiers: list(z.strictObject({ addr: number64, bitmap: bitmap(128) })),
  vcpu_features: list(z.strictObject({ index: z.number(), bitmap: bitmap(32) })),
})

/** Bits of `mask` are to be those of `value`. */
interface Bits<N> {
  readonly mask: N
  readonly value: N
}

export interface CpuTemplate {
  /** Capabilities of the host's KVM that must be there. */
  readonly kvmCapabilities: readonly number[]
  readonly cpuid: readonly (Bits<number> & {
    readonly leaf: number
    readonly subleaf: number
    readonly register: 'eax' | 'ebx' | 'ecx' | 'edx'
  })[]
  readonly msrs: readonly (Bits<bigint> & { readonly index: number })[]
}

/** What only machines of one architecture have. */
const foreignKeys = {
  x86_64: { keys: ['reg_modifiers', 'vcpu_features'], owner: 'AArch64' },
  aarch64: { keys: ['cpuid_modifiers', 'msr_modifiers'], owner: 'x86-64' },
} as const

/** Throws ERR_CPUS naming file and key. */
export async function readCpuTemplate(path: string, architecture: keyof typeof foreignKeys): Promise<CpuTemplate> {
  try {
    return parseCpuTemplate(await readText(path), architecture)
  } catch (cause) {
    throw new TsvmmError('ERR_CPUS', { reason: `template: ${path}: ${reasonOf(cause)}` }, { cause })
  }
}

/** Throws TypeError with a reason in one line. */
export function parseCpuTemplate(text: string, architecture: keyof typeof foreignKeys): CpuTemplate {
  const result = z.safeParse(templateSchema, parseJson(text), { reportInput: true })
  if (!result.success) {
    const [issue] = result.error.issues
    if (issue === undefined) throw new TypeError('is not valid')
    const { path, reason } = describeIssue(issue)
    throw new TypeError(path.length === 0 ? reason : `${path.join('.')}: ${reason}`)
  }
  const { keys, owner } = foreignKeys[architecture]
  const foreign = keys.find(key => result.data[key].length > 0)
  if (foreign !== undefined) throw new TypeError(`${foreign}: is for ${owner} machines only`)
  const { kvm_capabilities, cpuid_modifiers, msr_modifiers } = result.data
  return {
    // One behind an exclamation mark is not to be asked for: none is that tsvmm can do without.
    kvmCapabilities: kvm_capabilities.filter(each => !each.startsWith('!')).map(Number),
    cpuid: cpuid_modifiers.flatMap(({ leaf, subleaf, modifiers }) =>
      modifiers.map(({ register, bitmap: bits }) => {
        const { mask, value } = parseBitmap(bits)
        return { leaf: Number(leaf), subleaf: Number(subleaf), register, mask: Number(mask), value: Number(value) }
      }),
    ),
    msrs: msr_modifiers.map(({ addr, bitmap: bits }) => ({ index: Number(addr), ...parseBitmap(bits) })),
  }
}

/** `0bx01_x`: the last digit is bit 0, x leaves a bit as it is, and so do digits that are not there. */
function parseBitmap(text: string): Bits<bigint> {
  const digits = digitsOf(text)
  return {
    mask: BigInt(`0b${digits.replaceAll('0', '1').replaceAll('x', '0')}`),
    value: BigInt(`0b${digits.replaceAll('x', '0')}`),
  }
}

function digitsOf(text: string): string {
  return text.replace(/^0b/, '').replaceAll('_', '')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TypeError('is not JSON', { cause })
  }
}

async function readText(path: string): Promise<string> {
  // A FIFO in its place must not make anybody wait.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const status = await file.stat()
  if (!status.isFile()) throw new TypeError('is not a file')
  if (status.size > largestBytes) throw new TypeError(`has ${status.size} bytes, at most ${largestBytes} are read`)
  return await file.readFile('utf8')
}
