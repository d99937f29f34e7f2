import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { parseVmConfig } from '../../config/vm-config.ts'
import { MigrationProxy } from '../../migration/testing/proxy.ts'
import type { ArrivalOptions } from '../arrival.ts'
import type { MigrationOptions } from '../departure.ts'
import { Vmm, type VmmOptions } from '../vmm.ts'
import { FakeMachines, fakeSpeaker } from './fake-machine.ts'

export const config = parseVmConfig({ payload: { kernel: 'vmlinux' }, disks: [{ path: 'a.img' }] })

/** A side without a machine: its VMM, what becomes of its machines, and what it tells of. */
export function aSide(t: ExecutionContext, options: VmmOptions = {}) {
  const machines = new FakeMachines()
  const { createVm, receiveVm } = machines
  const vmm = new Vmm({ createVm, receiveVm, outlivesVm: true, ...options })
  const events: string[] = []
  vmm.on('event', ({ event }) => events.push(event))
  t.teardown(() => vmm.close())
  return { vmm, machines, events }
}

/** A machine that runs, another side that waits for it, and what is between them. */
export async function twoSides(
  t: ExecutionContext,
  receiving: Partial<ArrivalOptions> = {},
  way: 'through a proxy' | 'direct' = 'through a proxy',
) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-move-'))
  const [near, far] = [join(place, 'near'), join(place, 'far')]
  const [source, destination] = [aSide(t), aSide(t)]
  await source.vmm.create(config)
  await source.vmm.boot()
  source.machines.steps.length = 0
  source.events.length = 0
  const receive = async () => {
    const ready = Promise.withResolvers<void>()
    const options = { speaker: fakeSpeaker(), ...receiving, onListening: () => ready.resolve() }
    const received = destination.vmm.receiveMigration(`unix:${far}`, options)
    received.catch(() => {})
    await Promise.race([ready.promise, received])
    return { received }
  }
  const proxy = await MigrationProxy.open(near, far)
  t.teardown(async () => {
    await proxy[Symbol.asyncDispose]()
    rmSync(place, { recursive: true, force: true })
  })
  const send = (options: MigrationOptions = {}) =>
    source.vmm.sendMigration(`unix:${way === 'direct' ? far : near}`, {
      connections: 2,
      speaker: fakeSpeaker(),
      ...options,
    })
  return { source, destination, proxy, url: `unix:${near}`, send, receive, ...(await receive()) }
}

export type Sides = Awaited<ReturnType<typeof twoSides>>

/** Which sides have a machine that runs. */
export function running({ source, destination }: Pick<Sides, 'source' | 'destination'>): string {
  return [source, destination].map(({ vmm }) => vmm.state).join(' ')
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 5))
}
