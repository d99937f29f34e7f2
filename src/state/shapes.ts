import * as z from 'zod/mini'

/** A shape in plain data: to be compared between releases, and to make states from. */
export type ShapeDescription =
  | { readonly kind: 'integer'; readonly least: number; readonly most: number }
  | { readonly kind: 'bits'; readonly mask: number }
  | { readonly kind: 'u64' }
  | { readonly kind: 'flag' }
  | { readonly kind: 'bytes'; readonly least: number; readonly most: number }
  | { readonly kind: 'list'; readonly item: ShapeDescription; readonly most: number }
  | { readonly kind: 'object'; readonly fields: Readonly<Record<string, ShapeDescription>> }
  | { readonly kind: 'optional'; readonly of: ShapeDescription }

const descriptions = new WeakMap<z.core.$ZodType, ShapeDescription>()

/** Throws RangeError for a shape that is not made of what is below: then nobody could tell whether it has changed. */
export function describeShape(shape: z.core.$ZodType): ShapeDescription {
  const description = descriptions.get(shape)
  if (description === undefined) throw new RangeError('a state is made of the shapes of state/shapes.ts')
  return description
}

function described<S extends z.core.$ZodType>(shape: S, description: ShapeDescription): S {
  descriptions.set(shape, description)
  return shape
}

export function integer(least: number, most: number) {
  return described(z.number().check(z.int(), z.gte(least), z.lte(most)), { kind: 'integer', least, most })
}

export const u8 = integer(0, 0xff)
export const u16 = integer(0, 0xffff)
export const u32 = integer(0, 0xffff_ffff)
/** What a number holds: addresses, lengths. */
export const u53 = integer(0, Number.MAX_SAFE_INTEGER)
export const u64 = described(z.bigint().check(z.gte(0n), z.lte(0xffff_ffff_ffff_ffffn)), { kind: 'u64' })
export const flag = described(z.boolean(), { kind: 'flag' })

/** A register: no bits but these, of at most 32. */
export function bits(mask: number) {
  const hasNoOthers = (value: number) => (value & ~mask) === 0
  const shape = z
    .number()
    .check(z.int(), z.gte(0), z.lte(mask), z.refine(hasNoOthers, `has bits beyond 0x${mask.toString(16)}`))
  return described(shape, { kind: 'bits', mask })
}

/** So many bytes, or as many as the second number at most. */
export function bytes(least: number, most = least) {
  const fits = ({ length }: Uint8Array) => length >= least && length <= most
  const shape = z.instanceof(Uint8Array).check(z.refine(fits, `must be ${least} to ${most} bytes long`))
  return described(shape, { kind: 'bytes', least, most })
}

export function list<S extends z.core.$ZodType>(item: S, most: number) {
  return described(z.array(item).check(z.maxLength(most)), { kind: 'list', item: describeShape(item), most })
}

export function object<F extends Readonly<Record<string, z.core.$ZodType>>>(fields: F) {
  const names = Object.entries(fields).map(([name, shape]) => [name, describeShape(shape)] as const)
  return described(z.strictObject(fields), { kind: 'object', fields: Object.fromEntries(names) })
}

export function optional<S extends z.core.$ZodType>(shape: S) {
  return described(z.optional(shape), { kind: 'optional', of: describeShape(shape) })
}
