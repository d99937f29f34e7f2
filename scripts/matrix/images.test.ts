import test from 'ava'
import { chooseImages } from './images.ts'

const cache: Readonly<Record<string, string>> = {
  'debian-12': '/cache/debian-12.raw',
  'fedora-36': '/cache/fedora.raw',
}

async function choose(wanted: readonly string[], inCache: readonly string[]) {
  const said: string[] = []
  const cached = (name: string) => (inCache.includes(name) ? cache[name] : undefined)
  const images = await chooseImages({ isOffline: true, wanted, say: line => said.push(line), cached })
  return { images, said, names: images.map(({ name }) => name) }
}

test('where no image of a kind is there, what is made here stands in', async t => {
  const { names, said, images } = await choose([], ['debian-12'])
  t.deepEqual(names, ['debian-12', 'fedora-like'])
  t.deepEqual(said, ['fedora-like stands in for fedora-36, fedora-latest'])
  t.like(images[0], { distro: 'ubuntu', isReal: true })
  t.is(await images[0]?.obtain(), '/cache/debian-12.raw')
  t.like(images[1], { distro: 'fedora', isReal: false })
})

test('of those that are asked for, too', async t => {
  t.deepEqual((await choose(['debian-12'], [])).names, ['ubuntu-like'])
  t.deepEqual((await choose(['debian-12'], ['debian-12', 'fedora-36'])).names, ['debian-12'])
  t.deepEqual((await choose(['ubuntu-like', 'fedora-36'], ['debian-12', 'fedora-36'])).names, [
    'ubuntu-like',
    'fedora-36',
  ])
  t.deepEqual((await choose(['fedora-like'], ['fedora-36'])).names, ['fedora-like'])
})
