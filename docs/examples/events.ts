/** Follows what happens to a machine until it ends: node events.ts vmlinux initramfs */
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
await using vm = await Vm.create({
  payload: { kernel, initramfs, cmdline: 'panic=-1' },
  console: { mode: 'Off' },
})

async function drive(): Promise<void> {
  await vm.boot()
  await vm.pause()
  await vm.resume()
  await vm.shutdown()
}

const driving = drive()
for await (const { name, args } of vm.events()) {
  if (name === 'exit') console.log(`it has ended: ${args[0].kind}`)
  else if (name === 'needs-reset') console.log(`the driver of ${args[0]} broke it: ${args[1]}`)
  else console.log(name)
}
await driving
