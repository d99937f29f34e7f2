import { mutate } from '../../src/util/testing/mutate.ts'
import { below, randomOf } from '../../src/util/testing/random.ts'
import type { Target } from './target.ts'

export interface FuzzOptions {
  readonly seed: number
  readonly seconds: number
  /** At most; as many as fit into the time where absent. */
  readonly inputs?: number
}

/** An input that was neither taken nor refused as it should be. */
export interface Finding {
  readonly input: Uint8Array
  readonly error: unknown
}

/** Gives mutations of the target's examples to it, the same ones for the same seed, until one is a finding or time is up. */
export function fuzz(target: Target, { seed, seconds, inputs = Infinity }: FuzzOptions): Finding | number {
  const random = randomOf(seed)
  const endMs = performance.now() + seconds * 1_000
  for (const input of target.examples) target.judge(input)
  let count = 0
  for (; count < inputs && performance.now() < endMs; count += 1) {
    const example = target.examples[below(random, target.examples.length)]
    if (example === undefined) break
    const input = mutate(example, random)
    try {
      target.judge(input)
    } catch (error) {
      return { input, error }
    }
  }
  return count
}
