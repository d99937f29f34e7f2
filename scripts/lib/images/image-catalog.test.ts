import test from 'ava'
import { imageNames, locateImage } from './image-catalog.ts'

const hex = 'a1'.repeat(32)

test('an image is where its list of checksums is', async t => {
  const asked: string[] = []
  const read = async (url: string) => {
    asked.push(url)
    return `${hex} *jammy-server-cloudimg-amd64.img\n`
  }
  t.deepEqual(await locateImage('ubuntu-jammy', read), {
    url: 'https://cloud-images.ubuntu.com/jammy/current/jammy-server-cloudimg-amd64.img',
    digest: { algorithm: 'sha256', hex },
  })
  t.deepEqual(asked, ['https://cloud-images.ubuntu.com/jammy/current/SHA256SUMS'])
})

test('every image is fetched from where nobody can change it on the way', async t => {
  for (const name of imageNames) {
    const read = async (url: string) => {
      t.true(url.startsWith('https://'), url)
      throw new Error('unreachable')
    }
    await t.throwsAsync(locateImage(name, read), { message: 'unreachable' })
  }
})

test('the newest Fedora is the one with the highest number', async t => {
  const image = (version: string, link: string, changes = {}) => ({
    ...{ version, arch: 'x86_64', variant: 'Cloud', subvariant: 'Cloud_Base', sha256: hex },
    link: `https://download.example/${link}`,
    ...changes,
  })
  const list = [
    image('9', 'Fedora-Cloud-Base-Generic-9.qcow2'),
    image('43', 'Fedora-Cloud-Base-Generic-43.qcow2'),
    image('44 Beta', 'Fedora-Cloud-Base-Generic-44.qcow2'),
    image('43', 'Fedora-Cloud-Base-Azure-43.vhd.gz'),
    image('45', 'Fedora-Cloud-Base-Generic-45.qcow2', { arch: 'aarch64' }),
    { version: 46 },
    null,
  ]
  const { url } = await locateImage('fedora-latest', async () => JSON.stringify(list))
  t.is(url, 'https://download.example/Fedora-Cloud-Base-Generic-43.qcow2')
  for (const [answer, says] of [
    ['[]', /has no cloud image/],
    ['{}', /is not a list/],
  ] as const) {
    await t.throwsAsync(
      locateImage('fedora-latest', async () => answer),
      { message: says },
    )
  }
})

test('an unknown name is answered with the known ones', async t => {
  for (const name of ['ubuntu', 'constructor'])
    await t.throwsAsync(locateImage(name), { message: /ubuntu-focal, .*debian-12/ })
})
