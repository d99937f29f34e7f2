import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { client } from './generated/client.gen.ts'
import {
  bootVm,
  createVm,
  deleteVm,
  getVmCounters,
  getVmInfo,
  getVmmPing,
  pauseVm,
  powerButtonVm,
  putVmAddDisk,
  putVmAddNet,
  putVmRemoveDevice,
  putVmRestore,
  putVmSnapshot,
  rebootVm,
  resumeVm,
  shutdownVm,
  shutdownVmm,
} from './generated/sdk.gen.ts'
import { fetchOver } from './unix-fetch.ts'

/**
 * program.ts SOCKET CONFIG DISK FOLDER: drives a machine through its life with a client that was generated from a description of the
 * API. Each answer is held against it. The machine's configuration is a file of JSON; the disk is added, the folder is for a snapshot.
 */
const [socket = '', config = '', disk = '', folder = ''] = process.argv.slice(2)
client.setConfig({ fetch: fetchOver(socket), throwOnError: true })

async function expectState(state: string): Promise<void> {
  const { data } = await getVmInfo({ throwOnError: true })
  if (data.state !== state) throw new Error(`the machine is ${data.state}, not ${state}`)
  console.log(state)
}

async function expectRefusal(answer: Promise<{ response?: Response }>, status: number): Promise<void> {
  const { response } = await answer
  if (response?.status !== status) throw new Error(`answered with ${response?.status}, not ${status}`)
}

/** Where a device is that the running machine has got. */
function placeOf(place: unknown): string {
  const { id, bdf } = Object(place)
  return `${id} at ${bdf}`
}

/** A guest that boots still may not have heard: it is asked until the device is gone. */
async function remove(id: string): Promise<void> {
  for (;;) {
    const { response } = await putVmRemoveDevice({ body: { id }, throwOnError: false })
    if (response?.status === 404) return
    if (response?.status !== 204) throw new Error(`answered with ${response?.status}`)
    await delay(200)
  }
}

const { data: pong } = await getVmmPing({ throwOnError: true })
console.log(pong.version)
await expectRefusal(getVmInfo({ throwOnError: false }), 404)
await expectRefusal(bootVm({ throwOnError: false }), 404)
const body = JSON.parse(readFileSync(config, 'utf8'))
await createVm({ body })
await expectState('Created')
await expectRefusal(createVm({ body, throwOnError: false }), 500)
await bootVm()
await expectState('Running')
await delay(2_000)

const { data: addedDisk } = await putVmAddDisk({ body: { path: disk, id: 'extra' }, throwOnError: true })
console.log(placeOf(addedDisk))
const { data: addedCard } = await putVmAddNet({ body: { tap: 'client0', id: 'card' }, throwOnError: true })
console.log(placeOf(addedCard))
const { data: counters } = await getVmCounters({ throwOnError: true })
if (Object.keys(counters).length < 2) throw new Error('counters are missing')
await remove('card')

await pauseVm()
await expectState('Paused')
await expectRefusal(pauseVm({ throwOnError: false }), 500)
await putVmSnapshot({ body: { destination_url: `file://${folder}` } })
await resumeVm()
await expectState('Running')
await powerButtonVm()
await rebootVm()
await shutdownVm()
await expectState('Created')
await deleteVm()
await expectRefusal(getVmInfo({ throwOnError: false }), 404)

await putVmRestore({ body: { source_url: `file://${folder}` } })
await expectState('Paused')
await resumeVm()
await expectState('Running')
await shutdownVmm()
console.log('done')
