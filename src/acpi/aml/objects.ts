import { concatenate } from '../../util/bytes.ts'
import { type Aml, fieldLength, integer, namePath, nameSegment, raw, sized } from './encoding.ts'

/** Named objects and packages (ACPI 6.5 §20.2.5.1, §20.2.5.2, §20.2.5.4). */

export function name(path: string, value: Aml): Aml {
  return concatenate([raw(0x08), namePath(path), value])
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return sized([0x10], namePath(path), ...terms)
}

export function device(path: string, ...terms: readonly Aml[]): Aml {
  return sized([0x5b, 0x82], namePath(path), ...terms)
}

const maximumArguments = 7

export interface MethodOptions {
  /** 0 to 7. */
  readonly argumentCount?: number
  /** At most one thread of control at a time; wanted where the method creates names. */
  readonly isSerialized?: boolean
}

export function method(path: string, options: MethodOptions, ...terms: readonly Aml[]): Aml {
  const { argumentCount = 0, isSerialized = false } = options
  if (!Number.isInteger(argumentCount) || argumentCount < 0 || argumentCount > maximumArguments) {
    throw new RangeError(`method ${path} cannot have ${argumentCount} arguments`)
  }
  return sized([0x14], namePath(path), raw(argumentCount | (isSerialized ? 0x08 : 0)), ...terms)
}

const maximumElements = 0xff

/** At most 255 elements, known beforehand; throws RangeError for more. */
export function packageOf(...elements: readonly Aml[]): Aml {
  if (elements.length > maximumElements) throw new RangeError(`an AML package of ${elements.length} elements`)
  return sized([0x12], raw(elements.length), ...elements)
}

/** A package whose number of elements is a term: any number, or evaluated by the guest. */
export function variablePackage(elementCount: Aml, ...elements: readonly Aml[]): Aml {
  return sized([0x13], elementCount, ...elements)
}

const addressSpaces = { memory: 0, io: 1, pciConfig: 2 } as const

export function operationRegion(
  path: string,
  space: keyof typeof addressSpaces,
  address: number | bigint,
  lengthBytes: number,
): Aml {
  return concatenate([
    raw(0x5b, 0x80),
    namePath(path),
    raw(addressSpaces[space]),
    integer(address),
    integer(lengthBytes),
  ])
}

const accessWidths = { any: 0, byte: 1, word: 2, doubleWord: 3, quadWord: 4 } as const
/** What is written to the bits around a field that is narrower than an access. */
const updateRules = { preserve: 0x00, ones: 0x20, zeros: 0x40 } as const

export interface FieldOptions {
  readonly access: keyof typeof accessWidths
  readonly update: keyof typeof updateRules
  /** Takes the global lock around each access. */
  readonly isLocked?: boolean
}

/** Consecutive fields of an operation region; one without a name is a gap. */
export interface FieldUnit {
  readonly name?: string
  readonly bits: number
}

export function field(region: string, options: FieldOptions, units: readonly FieldUnit[]): Aml {
  const { access, update, isLocked = false } = options
  const flags = accessWidths[access] | updateRules[update] | (isLocked ? 0x10 : 0)
  const elements = units.map(unit =>
    concatenate([unit.name === undefined ? raw(0) : nameSegment(unit.name), fieldLength(unit.bits)]),
  )
  return sized([0x5b, 0x81], namePath(region), raw(flags), ...elements)
}

const maximumSyncLevel = 15

/** `syncLevel` 0 to 15: mutexes must be taken in ascending order. */
export function mutex(path: string, syncLevel = 0): Aml {
  if (!Number.isInteger(syncLevel) || syncLevel < 0 || syncLevel > maximumSyncLevel) {
    throw new RangeError(`mutex ${path} cannot have sync level ${syncLevel}`)
  }
  return concatenate([raw(0x5b, 0x01), namePath(path), raw(syncLevel)])
}

function createField(opcode: number, source: Aml, byteIndex: Aml, path: string): Aml {
  return concatenate([raw(opcode), source, byteIndex, namePath(path)])
}

/** Names for parts of a buffer, from the byte at `byteIndex` on. */
export const createDWordField = (source: Aml, byteIndex: Aml, path: string) =>
  createField(0x8a, source, byteIndex, path)
export const createWordField = (source: Aml, byteIndex: Aml, path: string) => createField(0x8b, source, byteIndex, path)
export const createByteField = (source: Aml, byteIndex: Aml, path: string) => createField(0x8c, source, byteIndex, path)
export const createQWordField = (source: Aml, byteIndex: Aml, path: string) =>
  createField(0x8f, source, byteIndex, path)
