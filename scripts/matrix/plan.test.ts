import test from 'ava'
import {
  cellsOf,
  type MatrixImage,
  nameOf,
  parseFilter,
  planGroups,
  suiteGroups,
  vcpuCounts,
  verbs,
  ways,
} from './plan.ts'

const images: readonly MatrixImage[] = [
  { name: 'ubuntu-like', distro: 'ubuntu', isReal: false, path: '/u' },
  { name: 'fedora-like', distro: 'fedora', isReal: false, path: '/f' },
]
const names = ['ubuntu-like', 'fedora-like', 'debian-12']
const cells = (...words: string[]) => {
  const filter = parseFilter(words, names)
  const wanted = images.filter(({ name }) => filter.images.length === 0 || filter.images.includes(name))
  return planGroups(wanted, filter).flatMap(cellsOf).map(nameOf)
}

test('without a filter there is every cell, but of QEMU only its boot and of firmware alone a reboot', t => {
  const all = cells()
  t.is(all.length, images.length * (vcpuCounts.length * (2 * (verbs.length - 1) + verbs.length) + 1))
  t.true(cells('reboot', 'boot').every(cell => cell.includes('-firmware-') || cell.endsWith('-boot')))
  t.deepEqual(cells('custom', 'reboot'), [])
  t.is(new Set(all).size, all.length)
})

test('words of one axis are alternatives, those of several are met together', t => {
  t.deepEqual(cells('fedora-like', 'firmware', '1', 'boot'), ['fedora-like-firmware-1-boot'])
  t.deepEqual(cells('custom', '2', 'boot'), ['ubuntu-like-custom-2-boot', 'fedora-like-custom-2-boot'])
  t.is(cells('ubuntu-like', 'custom', 'firmware', 'boot').length, 4)
})

test('what begins with a boot has one, and QEMU none of the others', t => {
  t.deepEqual(cells('ubuntu-like', 'custom', '1', 'clone'), ['ubuntu-like-custom-1-boot', 'ubuntu-like-custom-1-clone'])
  t.deepEqual(cells('qemu', 'clone'), [])
})

test('rust-hypervisor-firmware has its cells where there is one', t => {
  const groups = planGroups(images, parseFilter(['rust-firmware', '1'], names), '/rust')
  t.deepEqual(
    groups.map(({ image, way, rustFirmware }) => [image.name, way, rustFirmware]),
    images.map(({ name }) => [name, 'rust-firmware', '/rust']),
  )
  t.true(
    planGroups(images, parseFilter([], names), '/rust').every(
      group => !('rustFirmware' in group) || group.way === 'rust-firmware',
    ),
  )
  t.deepEqual(cells('rust-firmware'), [])
})

test('a word that is no value is refused', t => {
  t.throws(() => parseFilter(['firmwear'], names), { message: /^firmwear: is none of ubuntu-like, .*, clone$/ })
})

test('the suite has every image, way, verb and number of vCPUs somewhere', t => {
  const groups = suiteGroups(images)
  const all = groups.flatMap(cellsOf)
  const sorted = (values: readonly (string | number)[]) => [...new Set(values)].map(String).toSorted()
  t.deepEqual(sorted(all.map(({ image }) => image)), sorted(images.map(({ name }) => name)))
  t.deepEqual(sorted(all.map(({ way }) => way)), sorted(ways.filter(way => way !== 'rust-firmware')))
  t.deepEqual(sorted(all.map(({ verb }) => verb)), sorted(verbs))
  t.deepEqual(sorted(all.map(({ vcpus }) => vcpus)), sorted(vcpuCounts))
  t.true(groups.every(group => group.verbs[0] === 'boot'))
})
