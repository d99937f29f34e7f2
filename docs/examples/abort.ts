/** Gives up what takes too long, by signals: node abort.ts vmlinux initramfs */
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
const owner = new AbortController()

// The machine lives for as long as its owner wants it.
await using vm = await Vm.create({ payload: { kernel, initramfs }, console: { mode: 'Off' } }, { signal: owner.signal })
await vm.boot()

try {
  // Only the waiting is given up: the machine goes on.
  await vm.wait({ signal: AbortSignal.timeout(200) })
} catch (error) {
  console.log(`${error instanceof Error ? error.name : error}; the machine is ${vm.state}`)
}

owner.abort()
console.log(await vm.wait()) // { kind: 'stopped' }
