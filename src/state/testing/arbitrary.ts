import fc from 'fast-check'
import type { ShapeDescription } from '../shapes.ts'

/** States of a shape near to `example`: what is nothing like it is refused before anything else is looked at. */
export function statesLike(shape: ShapeDescription, example: unknown): fc.Arbitrary<unknown> {
  const others = otherStates(shape, example)
  const isWhole = shape.kind === 'object' || shape.kind === 'list' || example === undefined
  return isWhole ? others : fc.oneof({ weight: 4, arbitrary: fc.constant(example) }, others)
}

function otherStates(shape: ShapeDescription, example: unknown): fc.Arbitrary<unknown> {
  switch (shape.kind) {
    case 'integer':
      return fc.integer({ min: shape.least, max: shape.most })
    case 'bits':
      return fc.integer({ min: 0, max: 0xffff_ffff }).map(value => (value & shape.mask) >>> 0)
    case 'u64':
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    case 'flag':
      return fc.boolean()
    case 'bytes': {
      const length = example instanceof Uint8Array ? example.length : shape.least
      return fc.uint8Array({ minLength: length, maxLength: length })
    }
    case 'list': {
      const examples: readonly unknown[] = Array.isArray(example) ? example : []
      const alike = fc.tuple(...examples.map(each => statesLike(shape.item, each)))
      const maxLength = Math.min(shape.most, 20)
      return fc.oneof({ weight: 9, arbitrary: alike }, fc.array(statesLike(shape.item, undefined), { maxLength }))
    }
    case 'object': {
      const fields = Object.entries(shape.fields).map(([name, field]) => {
        const value: unknown = Reflect.get(Object(example), name)
        return [name, statesLike(field, value)] as const
      })
      const requiredKeys = Object.keys(shape.fields).filter(name => shape.fields[name]?.kind !== 'optional')
      return fc.record(Object.fromEntries(fields), { requiredKeys })
    }
    case 'optional':
      return statesLike(shape.of, example)
  }
}
