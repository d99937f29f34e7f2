import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { cacheImage, newestCachedImage } from './cached-images.ts'

const disk = Buffer.alloc(1024 * 1024, 'contents')

/** A server that has a qcow2 image, and a folder for what is made of it. */
class Mirror implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvmm-cached-images-test-'))
  readonly image: Buffer
  requests = 0
  readonly #server = createServer((_, response) => {
    this.requests += 1
    response.end(this.image)
  })

  private constructor() {
    const [raw, image] = [join(this.folder, 'raw'), join(this.folder, 'image')]
    writeFileSync(raw, disk)
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image])
    this.image = readFileSync(image)
    for (const file of [raw, image]) rmSync(file)
  }

  static async open(): Promise<Mirror> {
    const mirror = new Mirror()
    mirror.#server.listen(0, '127.0.0.1')
    await once(mirror.#server, 'listening')
    return mirror
  }

  source(bytes: Buffer = this.image) {
    const address = this.#server.address()
    const port = typeof address === 'object' ? address?.port : 0
    const hex = createHash('sha256').update(bytes).digest('hex')
    return { url: `http://127.0.0.1:${port}/cloud.qcow2`, digest: { algorithm: 'sha256', hex } } as const
  }

  get files(): string[] {
    return readdirSync(this.folder).filter(name => !name.endsWith('.lock'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
    rmSync(this.folder, { recursive: true })
  }
}

test('an image is downloaded and converted once, and is found without its server then', async t => {
  await using mirror = await Mirror.open()
  const { folder } = mirror
  t.is(newestCachedImage('debian-12', folder), undefined)
  const path = await cacheImage('debian-12', mirror.source(), { folder })
  t.true(readFileSync(path).equals(disk))
  t.is(await cacheImage('debian-12', mirror.source(), { folder }), path)
  t.is(mirror.requests, 1)
  t.deepEqual(
    mirror.files.map(file => join(folder, file)),
    [path],
  )
  t.is(newestCachedImage('debian-12', folder), path)
  t.is(newestCachedImage('debian-1', folder), undefined)
})

test('a wrong image leaves nothing that could be taken for one', async t => {
  await using mirror = await Mirror.open()
  const { folder } = mirror
  const source = mirror.source(Buffer.from('another'))
  await t.throwsAsync(cacheImage('debian-12', source, { folder }), { message: /: its sha256 is .* and should be / })
  t.deepEqual(mirror.files, [])
})

test('of several states of an image the newest is taken', async t => {
  await using mirror = await Mirror.open()
  const { folder } = mirror
  const [old, recent] = ['f', '0'].map(digit => join(folder, `fedora-36-${digit.repeat(16)}.raw`))
  for (const path of [old ?? '', recent ?? '', join(folder, 'fedora-36-0000000000000001.raw.partial')]) {
    writeFileSync(path, '')
  }
  utimesSync(old ?? '', 1, 1)
  t.is(newestCachedImage('fedora-36', folder), recent)
})
