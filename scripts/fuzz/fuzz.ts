import { parseArgs } from 'node:util'
import { fuzzNative } from './native.ts'
import { fuzz } from './run.ts'
import { targetOf } from './targets.ts'

const usage = 'usage: npm run fuzz -- state|manifest|images|migration [--seconds N] [--seed S]'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } },
})

async function main(): Promise<number> {
  const [name, ...rest] = positionals
  const seconds = Number(values.seconds)
  const seed = Number(values.seed ?? Date.now() % 2 ** 31)
  const isKnown = name === 'state' || name === 'manifest' || name === 'images' || name === 'migration'
  if (!isKnown || rest.length > 0 || !(seconds > 0) || !Number.isSafeInteger(seed)) {
    console.error(usage)
    return 2
  }
  console.log(`seed ${seed}`)
  if (name === 'images') return await fuzzNative(name, seconds, seed)
  const found = fuzz(targetOf(name, seed), { seed, seconds })
  if (typeof found === 'number') {
    console.log(`${found} inputs, each taken or refused in one line`)
    return name === 'migration' ? await fuzzNative(name, seconds, seed) : 0
  }
  console.error(found.error)
  console.error(`input: ${Buffer.from(found.input).toString('base64')}`)
  return 1
}

process.exitCode = await main()
