import * as z from 'zod/mini'
import { seldomChecked } from '../util/issues.ts'
import type { OptionObject } from './options.ts'

const fds = z.array(z.number())
const cards = z.optional(z.array(z.object({ id: z.string(), fds })))

/** Descriptors by card, as the key `net_fds` has them. */
export function descriptorsByCard(value: unknown): { readonly id: string; readonly fds: readonly number[] }[] {
  return cards.parse(value, seldomChecked) ?? []
}

/** What is sent of a command: numbers of descriptors mean nothing elsewhere, so that they go beside the body. */
export function splitDescriptors({ fds: own, net_fds, ...body }: OptionObject): {
  body: object
  fds: readonly number[]
} {
  const byCard = descriptorsByCard(net_fds)
  const announced = byCard.map(card => ({ id: card.id, num_fds: card.fds.length }))
  return {
    body: { ...body, ...(net_fds === undefined ? {} : { net_fds: announced }) },
    fds: [...(z.optional(fds).parse(own, seldomChecked) ?? []), ...byCard.flatMap(card => card.fds)],
  }
}
