import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Digest } from './checksums.ts'

export interface DownloadOptions {
  readonly url: string
  /** Appears when it is whole and its digest is right; until then `FILE.partial` grows, over several runs if need be. */
  readonly file: string
  readonly digest: Digest
  readonly maximumBytes?: number
  /** A server that sends nothing for so long is given up. */
  readonly idleMs?: number
  readonly onProgress?: (receivedBytes: number, totalBytes: number | undefined) => void
}

const defaultMaximumBytes = 8 * 2 ** 30
const defaultIdleMs = 60_000

/**
 * Downloads a file, going on where an earlier run or a cut connection left off, as long as each attempt brings something.
 * Rejects with one line that names the address: refusals, a digest that is wrong (nothing is kept then), a transfer that ends
 * early (what there is of it is kept).
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { url, file, digest } = options
  const partial = new PartialFile(`${file}.partial`)
  for (;;) {
    const before = partial.sizeBytes
    const end = await receive(options, partial)
    if (end === 'whole') break
    if (partial.sizeBytes <= before) {
      throw new Error(`${url}: ${end}; ${partial.sizeBytes} bytes are kept to go on with`)
    }
  }
  const found = await partial.digest(digest.algorithm)
  if (found !== digest.hex) {
    partial.remove()
    throw new Error(`${url}: its ${digest.algorithm} is ${found} and should be ${digest.hex}`)
  }
  partial.renameTo(file)
}

/** One request. Resolves to 'whole', or why it ended before. */
async function receive(options: DownloadOptions, partial: PartialFile): Promise<string> {
  const { url, maximumBytes = defaultMaximumBytes, idleMs = defaultIdleMs } = options
  using patience = new Patience(idleMs)
  const has = partial.sizeBytes
  const { version } = partial
  // Without a version that the server can compare, the rest might be another file's; the digest would tell only at the end.
  const range = has > 0 && version !== undefined ? { Range: `bytes=${has}-`, 'If-Range': version } : {}
  const response = await request(url, { headers: range, signal: patience.signal })
  const length = response.headers.get('content-length')
  const rest = length === null ? undefined : Number(length)
  const start = response.status === 206 ? startOf(response, url) : 0
  if (response.status === 206 && start !== has) throw new Error(`${url}: sends from byte ${start} instead of ${has}`)
  if (response.status === 416) {
    await response.body?.cancel()
    // Nothing is left to send, or the file has shrunk: the digest knows.
    return 'whole'
  }
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`)
  const total = rest === undefined ? undefined : start + rest
  if (total !== undefined && total > maximumBytes)
    throw new Error(`${url}: ${total} bytes are more than ${maximumBytes}`)
  if (start === 0) partial.begin(response.headers.get('etag') ?? response.headers.get('last-modified') ?? undefined)
  await using writer = await partial.writer(start)
  const cut = await copyBody(response, writer, patience, () => {
    if (writer.sizeBytes > maximumBytes) {
      partial.remove()
      throw new TooLarge(`${url}: more than ${maximumBytes} bytes`)
    }
    options.onProgress?.(writer.sizeBytes, total)
  })
  if (cut !== undefined) return cut
  return total === undefined || writer.sizeBytes === total
    ? 'whole'
    : `ended after ${writer.sizeBytes} of ${total} bytes`
}

/** Resolves to why it ended before its end, if it did; `onChunk` may refuse what has come. */
async function copyBody(response: Response, writer: Writer, patience: Patience, onChunk: () => void) {
  try {
    for await (const chunk of response.body ?? []) {
      patience.renew()
      await writer.write(chunk)
      onChunk()
    }
    return undefined
  } catch (error) {
    if (error instanceof TooLarge) throw error
    return patience.signal.aborted ? reason(patience.signal.reason) : `the connection was cut (${reason(error)})`
  }
}

class TooLarge extends Error {}

async function request(url: string, options: RequestInit): Promise<Response> {
  try {
    return await fetch(url, options)
  } catch (cause) {
    throw new Error(`${url}: ${reason(cause)}`, { cause })
  }
}

/** Of a small text. Rejects with one line that names the address. */
export async function fetchText(url: string, maximumBytes = 2 ** 22): Promise<string> {
  using patience = new Patience(defaultIdleMs)
  const response = await request(url, { signal: patience.signal })
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`)
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of response.body ?? []) {
    patience.renew()
    sizeBytes += chunk.length
    if (sizeBytes > maximumBytes) throw new Error(`${url}: more than ${maximumBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function startOf(response: Response, url: string): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]
  if (start === undefined) throw new Error(`${url}: sends a part without saying which`)
  return Number(start)
}

/** What fetch wraps the reason in says only that it failed. */
function reason(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error
  return inner instanceof Error ? (inner.message.split('\n', 1)[0] ?? inner.name) : String(inner)
}

/** Aborts what has not been renewed for so long. */
class Patience implements Disposable {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout

  constructor(milliseconds: number) {
    this.#timer = setTimeout(
      () => this.#controller.abort(new Error(`nothing came for ${milliseconds / 1000} s`)),
      milliseconds,
    )
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  renew(): void {
    this.#timer.refresh()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }
}

interface Writer extends AsyncDisposable {
  readonly sizeBytes: number
  write(bytes: Uint8Array): Promise<void>
}

/** What has come so far, and beside it which version of the file it is a part of. */
class PartialFile {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  get sizeBytes(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0
  }

  get version(): string | undefined {
    return existsSync(this.#versionPath) ? readFileSync(this.#versionPath, 'utf8') : undefined
  }

  get #versionPath(): string {
    return `${this.#path}.version`
  }

  /** A weak tag does not promise the same bytes (RFC 9110 §8.8.1). */
  begin(version: string | undefined): void {
    this.remove()
    if (version !== undefined && !version.startsWith('W/')) writeFileSync(this.#versionPath, version)
  }

  async writer(start: number): Promise<Writer> {
    const handle: FileHandle = await open(this.#path, start === 0 ? 'w' : 'r+')
    let sizeBytes = start
    return {
      get sizeBytes() {
        return sizeBytes
      },
      async write(bytes) {
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, sizeBytes)
          done += bytesWritten
          sizeBytes += bytesWritten
        }
      },
      [Symbol.asyncDispose]: () => handle.close(),
    }
  }

  async digest(algorithm: string): Promise<string> {
    const hash = createHash(algorithm)
    if (this.sizeBytes > 0) for await (const chunk of createReadStream(this.#path)) hash.update(chunk)
    return hash.digest('hex')
  }

  renameTo(path: string): void {
    renameSync(this.#path, path)
    this.remove()
  }

  remove(): void {
    for (const path of [this.#path, this.#versionPath]) rmSync(path, { force: true })
  }
}
