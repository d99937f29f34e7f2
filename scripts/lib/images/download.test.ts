import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type DownloadOptions, download, fetchText } from './download.ts'

const contents = randomBytes(300_000)
const digest = { algorithm: 'sha256', hex: createHash('sha256').update(contents).digest('hex') } as const
const half = contents.length / 2

/** A server on the loopback interface, and a folder to download to. */
class Site implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvmm-download-test-'))
  readonly ranges: (string | undefined)[] = []
  readonly #server: Server
  #handler: RequestListener = () => {}

  private constructor() {
    this.#server = createServer((request, response) => {
      this.ranges.push(request.headers.range)
      this.#handler(request, response)
    })
  }

  static async open(handler: RequestListener): Promise<Site> {
    const site = new Site()
    site.serve(handler)
    site.#server.listen(0, '127.0.0.1')
    await once(site.#server, 'listening')
    return site
  }

  serve(handler: RequestListener): void {
    this.#handler = handler
  }

  get url(): string {
    const address = this.#server.address()
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/image`
  }

  get file(): string {
    return join(this.folder, 'image')
  }

  download(options: Partial<DownloadOptions> = {}): Promise<void> {
    return download({ url: this.url, file: this.file, digest, ...options })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
    rmSync(this.folder, { recursive: true })
  }
}

interface Habits {
  readonly etag?: string
  /** Cuts the connection after so many bytes of each answer. */
  readonly cutAfter?: number
  readonly knowsRanges?: boolean
  readonly bytes?: Uint8Array
}

function serving({ etag = '"one"', cutAfter, knowsRanges = true, bytes = contents }: Habits = {}): RequestListener {
  return (request: IncomingMessage, response: ServerResponse) => {
    const isSame = request.headers['if-range'] === etag
    const start = knowsRanges && isSame ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0
    if (start > 0 && start >= bytes.length) {
      response.writeHead(416).end()
      return
    }
    const rest = bytes.subarray(start)
    const range = start > 0 ? { 'Content-Range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}
    response.writeHead(start > 0 ? 206 : 200, { ETag: etag, 'Content-Length': rest.length, ...range })
    if (cutAfter === undefined) response.end(rest)
    else response.write(rest.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 50))
  }
}

test('a file is downloaded, and nothing else is left', async t => {
  await using site = await Site.open(serving())
  const progress: number[] = []
  await site.download({ onProgress: (received, total) => progress.push(received / (total ?? 0)) })
  t.true(readFileSync(site.file).equals(contents))
  t.deepEqual(readdirSync(site.folder), ['image'])
  t.is(progress.at(-1), 1)
})

test('a transfer that is cut goes on where it was', async t => {
  await using site = await Site.open(serving({ cutAfter: half }))
  await site.download()
  t.true(readFileSync(site.file).equals(contents))
  t.deepEqual(site.ranges, [undefined, `bytes=${half}-`])
})

test('one that brings no more is given up, and the next run goes on with what is kept', async t => {
  await using site = await Site.open(serving({ cutAfter: half }))
  site.serve((request, response) => {
    if (request.headers.range === undefined) serving({ cutAfter: half })(request, response)
    else response.destroy()
  })
  await t.throwsAsync(site.download(), { message: /^http:\S+: / })
  t.false(existsSync(site.file))
  site.serve(serving())
  site.ranges.length = 0
  await site.download()
  t.deepEqual(site.ranges, [`bytes=${half}-`])
  t.true(readFileSync(site.file).equals(contents))
})

test('a server that cuts at once says how much is kept', async t => {
  await using site = await Site.open(serving({ cutAfter: 0 }))
  await t.throwsAsync(site.download(), { message: /: the connection was cut \(.*\); 0 bytes are kept to go on with$/ })
})

test('a wrong file is refused with both digests, and not kept', async t => {
  const wrong = Buffer.from(contents)
  wrong[1000] = (wrong[1000] ?? 0) ^ 1
  await using site = await Site.open(serving({ bytes: wrong }))
  const message = new RegExp(`: its sha256 is [0-9a-f]{64} and should be ${digest.hex}$`)
  await t.throwsAsync(site.download(), { message })
  t.deepEqual(readdirSync(site.folder), [])
})

test('a file that has changed meanwhile is begun again', async t => {
  await using site = await Site.open(serving())
  let asked = 0
  site.serve((request, response) => {
    asked += 1
    const old = { bytes: randomBytes(contents.length), etag: '"old"', cutAfter: half }
    serving(asked === 1 ? old : { etag: '"new"' })(request, response)
  })
  await site.download()
  t.is(asked, 2)
  t.true(readFileSync(site.file).equals(contents))
})

test('a server without ranges or without a version begins again', async t => {
  for (const habits of [{ knowsRanges: false }, { etag: 'W/"weak"' }]) {
    await using site = await Site.open(serving())
    let asked = 0
    site.serve((request, response) => {
      asked += 1
      serving({ ...habits, ...(asked === 1 ? { cutAfter: half } : {}) })(request, response)
    })
    await site.download()
    t.is(asked, 2)
    t.true(readFileSync(site.file).equals(contents))
  }
})

test('a transfer that was whole but not yet checked is not begun again', async t => {
  await using site = await Site.open((_, response) => {
    // Says one byte more than it has, so that the download ends as if it were cut.
    response.writeHead(200, { ETag: '"one"', 'Content-Length': contents.length + 1 })
    response.write(contents, () => setTimeout(() => response.destroy(), 50))
  })
  site.serve((request, response) => {
    if (request.headers.range !== undefined) return serving()(request, response)
    response.writeHead(200, { ETag: '"one"', 'Content-Length': contents.length + 1 })
    response.write(contents, () => setTimeout(() => response.destroy(), 50))
  })
  await site.download()
  t.deepEqual(site.ranges, [undefined, `bytes=${contents.length}-`])
  t.true(readFileSync(site.file).equals(contents))
})

test('refusals and what is too large name the address', async t => {
  await using site = await Site.open((_, response) => response.writeHead(404).end('<html>'))
  await t.throwsAsync(site.download(), { message: `${site.url}: HTTP 404` })
  site.serve(serving())
  await t.throwsAsync(site.download({ maximumBytes: 1000 }), { message: /: 300000 bytes are more than 1000$/ })
  site.serve((_, response) => {
    // In chunks, without a length.
    response.write(contents)
    response.end()
  })
  await t.throwsAsync(site.download({ maximumBytes: 1000 }), { message: /: more than 1000 bytes$/ })
  t.deepEqual(readdirSync(site.folder), [])
  await t.throwsAsync(download({ url: 'http://127.0.0.1:1/x', file: site.file, digest }), {
    message: /^http:\/\/127\.0\.0\.1:1\/x: /,
  })
})

test('a part that is not the one asked for is refused', async t => {
  await using site = await Site.open(serving())
  site.serve((request, response) => {
    if (request.headers.range === undefined) return serving({ cutAfter: half })(request, response)
    response.writeHead(206, { 'Content-Range': `bytes 0-9/${contents.length}` }).end('0123456789')
  })
  await t.throwsAsync(site.download(), { message: /: sends from byte 0 instead of 150000$/ })
})

test('a server that falls silent is given up', async t => {
  await using site = await Site.open((_, response) => {
    response.writeHead(200, { 'Content-Length': contents.length }).flushHeaders()
  })
  await t.throwsAsync(site.download({ idleMs: 1_000 }), { message: /: nothing came for 1 s; 0 bytes are kept/ })
})

test('a text is read, up to its limit', async t => {
  await using site = await Site.open((_, response) => response.end('lines\n'))
  t.is(await fetchText(site.url), 'lines\n')
  await t.throwsAsync(fetchText(site.url, 3), { message: /: more than 3 bytes$/ })
})
