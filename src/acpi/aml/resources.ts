import { concatenate } from '../../util/bytes.ts'
import { type Aml, buffer, raw, unsigned } from './encoding.ts'

/** Resource descriptors (ACPI 6.5 §6.4), and the buffer that holds a list of them. */

/** ResourceTemplate: the descriptors and an end tag without a checksum (§6.4.2.9). */
export function resourceTemplate(...descriptors: readonly Aml[]): Aml {
  const endTag = raw(0x79, 0)
  return buffer(concatenate([...descriptors, endTag]))
}

const decodes16Bits = 0x01

/** IO ports at a fixed place, decoded with 16 bits (§6.4.2.5). At most 255 ports. */
export function ioPorts(first: number, lengthBytes: number): Aml {
  const alignment = 1
  return concatenate([
    raw(0x47, decodes16Bits),
    unsigned(first, 2),
    unsigned(first, 2),
    raw(alignment),
    unsigned(lengthBytes, 1),
  ])
}

/** ISA interrupts, edge-triggered and active high (§6.4.2.1). Each 0 to 15; throws RangeError otherwise. */
export function irq(...numbers: readonly number[]): Aml {
  let mask = 0
  for (const number of numbers) {
    if (!Number.isInteger(number) || number < 0 || number > 15) throw new RangeError(`no ISA interrupt ${number}`)
    mask |= 1 << number
  }
  return concatenate([raw(0x22), unsigned(mask, 2)])
}

const consumer = 0x01
const edgeTriggered = 0x02
const activeLow = 0x04

export interface InterruptMode {
  readonly isEdge: boolean
  readonly isActiveLow?: boolean
}

/** Global system interrupts that the device uses itself and shares with none (§6.4.3.6). */
export function interrupt(numbers: readonly number[], { isEdge, isActiveLow = false }: InterruptMode): Aml {
  const flags = consumer | (isEdge ? edgeTriggered : 0) | (isActiveLow ? activeLow : 0)
  const body = concatenate([raw(flags), unsigned(numbers.length, 1), ...numbers.map(number => unsigned(number, 4))])
  return concatenate([raw(0x89), unsigned(body.length, 2), body])
}

/** Memory below 4 GiB at a fixed place (§6.4.3.4). */
export function memory32Fixed(address: number, lengthBytes: number, isWritable: boolean): Aml {
  const body = concatenate([raw(isWritable ? 1 : 0), unsigned(address, 4), unsigned(lengthBytes, 4)])
  return concatenate([raw(0x86), unsigned(body.length, 2), body])
}

/** `sharedMemory`: RAM that only others write. */
export type AddressSpaceKind = 'memory' | 'sharedMemory' | 'io' | 'bus'

const kinds = { memory: 0, sharedMemory: 0, io: 1, bus: 2 } as const
const tags = { 2: 0x88, 4: 0x87, 8: 0x8a } as const
/** Both ends are fixed, decoding is positive. */
const fixedRange = 0x0c
/** Memory: readable and writable, not cacheable, or the other way round; ports: the whole range, ISA or not. */
const kindFlags = { memory: 0x01, sharedMemory: 0x02, io: 0x03, bus: 0x00 } as const

/** An inclusive range, so that the last address of an address space can be in one. */
export interface AddressRange {
  readonly first: number
  readonly last: number
}

/**
 * Word, DWord or QWord address space (§6.4.3.5) of `width` bytes a field, at a fixed place. With `isConsumed` the device
 * decodes it itself, otherwise it hands it on to its children. Throws RangeError for an empty range.
 */
export function addressSpace(
  kind: AddressSpaceKind,
  width: 2 | 4 | 8,
  { first, last }: AddressRange,
  isConsumed = false,
): Aml {
  if (last < first) throw new RangeError(`the ${kind} range 0x${first.toString(16)} to 0x${last.toString(16)} is empty`)
  const granularity = 0
  const translation = 0
  const body = concatenate([
    raw(kinds[kind], fixedRange | (isConsumed ? consumer : 0), kindFlags[kind]),
    ...[granularity, first, last, translation, last - first + 1].map(value => unsigned(value, width)),
  ])
  return concatenate([raw(tags[width]), unsigned(body.length, 2), body])
}
