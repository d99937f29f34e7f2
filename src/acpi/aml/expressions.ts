import { concatenate } from '../../util/bytes.ts'
import { type Aml, integer, namePath, raw, sized, unsigned } from './encoding.ts'

/** Statements and expressions of methods (ACPI 6.5 §20.2.5.3, §20.2.5.4, §20.2.6). */

const maximumLocal = 7
const maximumArgument = 6

/** Local0 to Local7. */
export function local(index: number): Aml {
  if (!Number.isInteger(index) || index < 0 || index > maximumLocal) throw new RangeError(`no Local${index} in AML`)
  return raw(0x60 + index)
}

/** Arg0 to Arg6. */
export function argument(index: number): Aml {
  if (!Number.isInteger(index) || index < 0 || index > maximumArgument) throw new RangeError(`no Arg${index} in AML`)
  return raw(0x68 + index)
}

export const zero: Aml = raw(0x00)
export const one: Aml = raw(0x01)
/** As a target: the result is not stored anywhere. */
export const nowhere: Aml = raw(0x00)

/** The value of a named object, or the object as a target. */
export const reference = (path: string): Aml => namePath(path)

/** Calls a method; the number of parameters must be that of its arguments. */
export function call(path: string, ...parameters: readonly Aml[]): Aml {
  return concatenate([namePath(path), ...parameters])
}

const terms = (opcode: number, ...operands: readonly Aml[]): Aml => concatenate([raw(opcode), ...operands])

export const store = (value: Aml, target: Aml): Aml => terms(0x70, value, target)
export const returnValue = (value: Aml): Aml => terms(0xa4, value)
export const notify = (path: string, value: number): Aml => terms(0x86, namePath(path), integer(value))
export const notifyWith = (path: string, value: Aml): Aml => terms(0x86, namePath(path), value)

export const add = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x72, a, b, target)
export const subtract = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x74, a, b, target)
export const increment = (target: Aml): Aml => terms(0x75, target)
export const decrement = (target: Aml): Aml => terms(0x76, target)
export const multiply = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x77, a, b, target)
export const divide = (a: Aml, b: Aml, remainder = nowhere, quotient = nowhere): Aml =>
  terms(0x78, a, b, remainder, quotient)
export const shiftLeft = (value: Aml, bits: Aml, target = nowhere): Aml => terms(0x79, value, bits, target)
export const shiftRight = (value: Aml, bits: Aml, target = nowhere): Aml => terms(0x7a, value, bits, target)
export const and = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x7b, a, b, target)
export const or = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x7d, a, b, target)
export const xor = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x7f, a, b, target)
export const not = (value: Aml, target = nowhere): Aml => terms(0x80, value, target)
export const modulo = (a: Aml, b: Aml, target = nowhere): Aml => terms(0x85, a, b, target)

export const logicalAnd = (a: Aml, b: Aml): Aml => terms(0x90, a, b)
export const logicalOr = (a: Aml, b: Aml): Aml => terms(0x91, a, b)
export const logicalNot = (value: Aml): Aml => terms(0x92, value)
export const equal = (a: Aml, b: Aml): Aml => terms(0x93, a, b)
export const greater = (a: Aml, b: Aml): Aml => terms(0x94, a, b)
export const less = (a: Aml, b: Aml): Aml => terms(0x95, a, b)
export const notEqual = (a: Aml, b: Aml): Aml => logicalNot(equal(a, b))
export const lessOrEqual = (a: Aml, b: Aml): Aml => logicalNot(greater(a, b))
export const greaterOrEqual = (a: Aml, b: Aml): Aml => logicalNot(less(a, b))

export const sizeOf = (value: Aml): Aml => terms(0x87, value)
export const index = (source: Aml, at: Aml, target = nowhere): Aml => terms(0x88, source, at, target)
export const dereference = (value: Aml): Aml => terms(0x83, value)

export const ifThen = (predicate: Aml, ...body: readonly Aml[]): Aml => sized([0xa0], predicate, ...body)
/** Only directly behind an ifThen. */
export const otherwise = (...body: readonly Aml[]): Aml => sized([0xa1], ...body)
export const whileTrue = (predicate: Aml, ...body: readonly Aml[]): Aml => sized([0xa2], predicate, ...body)
export const leaveLoop: Aml = raw(0xa5)

/** `timeoutMs` 0xffff waits for ever. The result is true where the time has run out. */
export function acquire(path: string, timeoutMs = 0xffff): Aml {
  return concatenate([raw(0x5b, 0x23), namePath(path), unsigned(timeoutMs, 2)])
}

export function release(path: string): Aml {
  return concatenate([raw(0x5b, 0x27), namePath(path)])
}
