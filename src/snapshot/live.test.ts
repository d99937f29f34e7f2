import test from 'ava'
import { countPages } from '../memory/page-bitmap.ts'
import { writeWhileRunning } from './live.ts'

/** As many pages of so many. */
function pages(count: number): Uint8Array {
  const bitmap = new Uint8Array(1024)
  for (let page = 0; page < count; page += 1) bitmap[page >> 3] = (bitmap[page >> 3] ?? 0) | (1 << (page & 7))
  return bitmap
}

/** A machine that writes so many pages during each round; `saved` has how many each round saved. */
async function live(written: readonly number[], pauseLimit: number) {
  const saved: (number | 'all')[] = []
  let round = 0
  const writer = {
    writeRam: async (present?: Uint8Array) => void saved.push(present === undefined ? 'all' : countPages(present)),
  }
  const lineage = { track: () => {}, pages: () => pages(written[Math.min(round++, written.length - 1)] ?? 0) }
  const { rounds, left, areFew } = await writeWhileRunning(writer, lineage, undefined, pauseLimit * 4096)
  return { rounds, left: countPages(left), areFew, saved }
}

test('rounds go on while they get smaller, until little is left', async t => {
  t.deepEqual(await live([800, 300, 90], 91), { rounds: 3, left: 90, areFew: true, saved: ['all', 800, 300] })
  t.deepEqual(await live([100], 101), { rounds: 1, left: 100, areFew: true, saved: ['all'] })
})

test('a machine that writes as fast as it is saved gets no more rounds', async t => {
  t.deepEqual(await live([800, 790], 100), { rounds: 2, left: 790, areFew: false, saved: ['all', 800] })
  const slowly = Array.from({ length: 40 }, (_, round) => Math.round(8000 * 0.89 ** round))
  const { rounds, areFew } = await live(slowly, 10)
  t.deepEqual({ rounds, areFew }, { rounds: 30, areFew: false })
})

test('without a limit nothing is left to the pause', async t => {
  t.like(await live([0], 0), { rounds: 2, areFew: false })
})
