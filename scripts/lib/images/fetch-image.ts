import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { cacheImage } from './cached-images.ts'
import { imageNames, locateImage } from './image-catalog.ts'

const usage = `usage: scripts/fetch-image NAME [OUT]
Downloads a distribution's cloud image, checks it against the checksum that the distribution publishes, converts it to raw and
prints where it is in the cache, or copies it to OUT. What was cut off is gone on with.
NAME is one of ${imageNames.join(', ')}`

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' } },
  })
  const [name, out, ...more] = positionals
  if (values.help) return console.log(usage)
  if (name === undefined || more.length > 0) {
    console.error(usage)
    process.exitCode = 2
    return
  }
  const source = await locateImage(name)
  const path = await cacheImage(name, source, { onProgress: showProgress(source.url) })
  if (out === undefined) console.log(path)
  else execFileSync('cp', ['--sparse=always', '--reflink=auto', path, out])
}

/** A line for each tenth. */
function showProgress(url: string): (received: number, total: number | undefined) => void {
  let shown = -1
  return (received, total) => {
    const tenth = total === undefined ? Math.floor(received / 2 ** 28) : Math.floor((received / total) * 10)
    if (tenth === shown) return
    shown = tenth
    console.error(
      `fetch-image: ${url}: ${Math.round(received / 2 ** 20)} of ${total === undefined ? '?' : Math.round(total / 2 ** 20)} MiB`,
    )
  }
}

try {
  await main()
} catch (error) {
  console.error(`fetch-image: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
