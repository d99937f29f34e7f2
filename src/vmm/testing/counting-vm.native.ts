import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Vm } from '../vm.ts'
import { countingKernel } from './counting-guest.ts'

/** What is in its memory, beside the counter. */
export const ballastBytes = 300_000

/** A machine of counting-guest.ts with a disk, all of it in `place`; it runs, and has counted. */
export async function bootCountingVm(place: string, memory: { readonly size: number } = { size: 16 * 2 ** 20 }) {
  const kernel = join(place, 'kernel')
  if (!existsSync(kernel)) writeFileSync(kernel, countingKernel(ballastBytes))
  const disk = diskOf(place)
  if (!existsSync(disk)) execFileSync('truncate', ['--size', '1M', disk])
  const off = { mode: 'Off' } as const
  const vm = await Vm.create({ payload: { kernel }, memory, disks: [{ path: disk }], console: off, serial: off })
  const counted = Promise.withResolvers<void>()
  vm.once('debug-code', () => counted.resolve())
  await vm.boot()
  await counted.promise
  return vm
}

export function diskOf(place: string): string {
  return join(place, 'disk')
}
